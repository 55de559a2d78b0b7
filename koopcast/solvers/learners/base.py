"""Learners: players that choose ω for one linear system after another and see only what it cost."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from koopcast.errors import InvalidInput, ShapeMismatch
from koopcast.spec import MethodSpec, Spec

Arrays = dict[str, np.ndarray]
"""What a learner knows, by name: float64 arrays whose shapes never change."""


class Grid(Spec):
    """Values of ω to choose from, evenly spaced."""

    low: float = Field(1.0, gt=0, lt=2)
    """Least ω."""
    high: float = Field(1.95, gt=0, lt=2)
    """Greatest ω."""
    count: int = Field(20, ge=2, le=1000)
    """Number of values."""

    @model_validator(mode="after")
    def _ordered(self) -> "Grid":
        if self.low >= self.high:
            raise ValueError(f"low: {self.low} is not below high, {self.high}; exchange them")
        return self

    def values(self) -> Float[np.ndarray, " action"]:
        """Return the values, ascending."""
        return np.linspace(self.low, self.high, self.count)


class Learner(ABC):
    """A player with what it has learned. Rounds are played in turn: choose, then learn."""

    @abstractmethod
    def choose(self, context: Mapping[str, float]) -> float:
        """Return ω for the next system.

        Args:
            context: Named numbers of the system, of which the learner takes the one it was told to.
        """

    @abstractmethod
    def learn(self, cost: float) -> None:
        """Take in the cost, at least 1, of the last choice."""

    @abstractmethod
    def state(self) -> Arrays:
        """Return what has been learned between two rounds, randomness aside."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what a learner of the same options knew.

        Raises:
            ShapeMismatch: The state is that of a learner with other options.
        """
        given, own = _shapes(state), _shapes(self.state())
        if given != own:
            raise ShapeMismatch(
                f"the state of a learner has {given}, this one needs {own}", "restore it with its own options"
            )
        self._restore(state)

    @abstractmethod
    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over arrays of the right names and shapes."""


def _shapes(state: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in sorted(state.items())}


class LearnerSpec(MethodSpec):
    """Options of a learner."""

    @abstractmethod
    def actions(self) -> Float[np.ndarray, " action"]:
        """Return the values of ω it chooses from, ascending."""

    @abstractmethod
    def build(self, generator: np.random.Generator) -> Learner:
        """Return a learner that knows nothing yet.

        Args:
            generator: For the choices that it draws.
        """


class ContextualSpec(LearnerSpec):
    """Options of a learner that sees one number of each system."""

    context: str = Field(min_length=1)
    """Which number of the system it sees, such as `reaction`."""
    context_range: tuple[float, float]
    """Least and greatest value of that number; one outside is an error."""
    grid: Grid = Grid()
    """Values of ω to choose from."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "ContextualSpec":
        low, high = self.context_range
        if low >= high:
            raise ValueError(f"context_range: {low} is not below {high}; give the least value first")
        return self

    def actions(self) -> Float[np.ndarray, " action"]:
        """Return the grid."""
        return self.grid.values()

    def position(self, context: Mapping[str, float]) -> float:
        """Return where a system's number stands in its range, from 0 to 1.

        Raises:
            InvalidInput: The system has no such number, or it is outside the range.
        """
        low, high = self.context_range
        if self.context not in context:
            known = ", ".join(sorted(context)) or "none"
            raise InvalidInput(
                f"{self.kind}: the system has no number '{self.context}' (it has: {known})",
                "name one of these",
            )
        value = context[self.context]
        if not low <= value <= high:
            raise InvalidInput(
                f"{self.kind}: {self.context} = {value:g} is outside context_range [{low:g}, {high:g}]",
                "widen the range to all values to come",
            )
        return (value - low) / (high - low)
