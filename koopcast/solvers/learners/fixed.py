"""The same ω for every system."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from koopcast.solvers.learners.base import Arrays, Learner, LearnerSpec


class FixedSpec(LearnerSpec):
    """The same ω for every system, whatever it costs."""

    kind: Literal["fixed"] = "fixed"
    omega: float = Field(1.5, gt=0, lt=2)
    """Relaxation factor ω."""

    reference = "Young 1954, Iterative methods for solving partial difference equations, Trans. AMS 76"

    def actions(self) -> Float[np.ndarray, " action"]:
        """Return ω alone."""
        return np.array([self.omega])

    def build(self, generator: np.random.Generator) -> Learner:
        """Return a player that learns nothing."""
        return _Fixed(self.omega)


class _Fixed(Learner):
    def __init__(self, omega: float) -> None:
        self.omega = omega

    def choose(self, context: Mapping[str, float]) -> float:
        return self.omega

    def learn(self, cost: float) -> None:
        pass

    def state(self) -> Arrays:
        return {}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        pass
