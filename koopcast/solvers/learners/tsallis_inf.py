"""Tsallis-INF: the bandit that is optimal against chance and against an adversary."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from koopcast.solvers.learners.base import Arrays, Grid, Learner, LearnerSpec

HALVINGS = 60
"""Of the bracket of x: after so many it is as narrow as float64 allows."""


class TsallisINFSpec(LearnerSpec):
    """A bandit that approaches the best fixed ω of a grid, by mirror descent in the Tsallis entropy."""

    kind: Literal["tsallis_inf"] = "tsallis_inf"
    grid: Grid = Grid()
    """Values of ω to choose from."""

    reference = (
        "Zimmert and Seldin 2021, Tsallis-INF, JMLR 22; losses are scaled by their running mean as in Khodak "
        "et al. 2024, and x is found by bisection where their code takes Newton steps that may fail"
    )

    def actions(self) -> Float[np.ndarray, " action"]:
        """Return the grid."""
        return self.grid.values()

    def build(self, generator: np.random.Generator) -> "TsallisINF":
        """Return a bandit to which all values are alike."""
        return TsallisINF(self.actions(), generator)


class TsallisINF(Learner):
    """k_i sums the losses of action i over the probability with which it was drawn."""

    def __init__(self, actions: Float[np.ndarray, " action"], generator: np.random.Generator) -> None:
        self.actions, self.generator = actions, generator
        self.k = np.zeros(len(actions))
        self.rounds, self.total = 0, 0.0
        self._index, self._chance = 0, 1.0

    def choose(self, context: Mapping[str, float]) -> float:
        """Draw from the probabilities of this round."""
        p = self.probabilities()
        self._index = int(self.generator.choice(len(p), p=p))
        self._chance = float(p[self._index])
        return float(self.actions[self._index])

    def probabilities(self) -> Float[np.ndarray, " action"]:
        """Return the chance of each action, with η = 2/√t and losses in units of their mean so far."""
        mean = self.total / self.rounds if self.rounds else 1.0
        return probabilities(self.k / (mean or 1.0), 2.0 / np.sqrt(self.rounds + 1))

    def learn(self, cost: float) -> None:
        """Add the loss cost - 1 to its action, weighted so that all sums are unbiased."""
        loss = cost - 1.0
        self.k[self._index] += loss / self._chance
        self.rounds, self.total = self.rounds + 1, self.total + loss

    def state(self) -> Arrays:
        """Return the sums."""
        return {"k": self.k.copy(), "rounds": np.array(float(self.rounds)), "total": np.array(self.total)}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.k = np.array(state["k"], dtype=np.float64)
        self.rounds, self.total = int(state["rounds"]), float(state["total"])


def probabilities(q: Float[np.ndarray, " action"], eta: float) -> Float[np.ndarray, " action"]:
    """Return p_i = 4 / (η (q_i - x))² with the x below min q that makes their sum 1; q counts from min q.

    At x = min q - 2/η the least q alone has p = 1; at x = min q - 2 √d/η no p exceeds 1/d.
    """
    q = q - q.min()
    low, high = -2.0 * np.sqrt(len(q)) / eta, -2.0 / eta
    for _ in range(HALVINGS):
        x = 0.5 * (low + high)
        z = 2.0 / (eta * (q - x))
        if z @ z < 1.0:
            low = x
        else:
            high = x
    p: np.ndarray = (q - low) ** -2.0
    return np.asarray(p / p.sum())
