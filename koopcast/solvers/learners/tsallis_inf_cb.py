"""One Tsallis-INF for each bin of a context."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from koopcast.solvers.learners.base import Arrays, ContextualSpec, Learner
from koopcast.solvers.learners.tsallis_inf import TsallisINF


class TsallisINFCBSpec(ContextualSpec):
    """Tsallis-INF in equal bins of a number of the system, each bin learning on its own."""

    kind: Literal["tsallis_inf_cb"] = "tsallis_inf_cb"
    bins: int = Field(5, ge=1, le=1000)
    """Number of bins m; more follow the context closer and learn more slowly."""

    reference = "Khodak, Chow, Balcan and Talwalkar 2024, Learning to Relax, ICLR"

    def build(self, generator: np.random.Generator) -> Learner:
        """Return a bandit for each bin."""
        return _Binned(self, [TsallisINF(self.actions(), generator) for _ in range(self.bins)])


class _Binned(Learner):
    def __init__(self, spec: TsallisINFCBSpec, bandits: list[TsallisINF]) -> None:
        self.spec, self.bandits = spec, bandits
        self._bin = 0

    def choose(self, context: Mapping[str, float]) -> float:
        last = len(self.bandits) - 1
        self._bin = min(int(self.spec.position(context) * len(self.bandits)), last)
        return self.bandits[self._bin].choose(context)

    def learn(self, cost: float) -> None:
        self.bandits[self._bin].learn(cost)

    def state(self) -> Arrays:
        states = [bandit.state() for bandit in self.bandits]
        return {name: np.stack([state[name] for state in states]) for name in states[0]}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        for place, bandit in enumerate(self.bandits):
            bandit.restore({name: values[place] for name, values in state.items()})
