"""Solvers of linear systems, met one after another in a sequence: what one solve leaves serves the next."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from koopcast.linear import LinearProblem, Profile, Solution
from koopcast.spec import MethodSpec


class Solver(ABC):
    """A solver with its state: factors, hierarchies, recycled spaces, learned parameters."""

    @abstractmethod
    def solve(self, problem: LinearProblem) -> Solution:
        """Solve A x = b; float64. Never raises for want of convergence: the status says it."""


class SolverSpec(MethodSpec):
    """Options of a solver."""

    def refusal(self, profile: Profile) -> str | None:
        """Return why the method does not suit such matrices, and what to use; None where it does."""
        return None

    @abstractmethod
    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver at the start of a sequence.

        Args:
            profile: Of the matrices to come.
            generator: For methods that draw; the others leave it alone.
        """

    def order(
        self,
        profile: Profile,
        features: Sequence[Float[np.ndarray, " feature"]],
        grid: tuple[int, ...] | None = None,
    ) -> Int[np.ndarray, " system"]:
        """Return the order in which a sequence is best solved: a permutation; default: as it comes.

        Args:
            profile: Of the matrices.
            features: What fixes each matrix, in the order of the sequence.
            grid: Shape of the features where they are a field.
        """
        return np.arange(len(features))

    def reason(self, profile: Profile) -> str:
        """Return the method that will solve such a sequence, and why, for the attributes of the data."""
        return self.kind


def solve_all(
    spec: SolverSpec, profile: Profile, problems: Sequence[LinearProblem], generator: np.random.Generator
) -> Iterator[tuple[int, Solution]]:
    """Solve a sequence in the order that the method prefers; yield (place in the sequence, solution)."""
    solver = spec.build(profile, generator)
    grid = problems[0].feature_grid if problems else None
    for place in spec.order(profile, [problem.features for problem in problems], grid):
        yield int(place), solver.solve(problems[place])
