"""Constant coefficients on a box: solved in the basis in which the matrix is diagonal."""

from typing import Literal

import numpy as np
from pydantic import Field

from koopcast.errors import InvalidInput
from koopcast.linear import LinearProblem, Profile, Solution
from koopcast.solvers.base import Solver, SolverSpec
from koopcast.solvers.box import BoxInverse
from koopcast.solvers.outcome import outcome, trivial


class FFTSpec(SolverSpec):
    """Division by eigenvalues in sines, cosines or exponentials; of all solutions the smallest."""

    kind: Literal["fft"] = "fft"
    tolerance: float = Field(1e-9, gt=0, le=1e-1)
    """Largest ‖b - A x‖ / ‖b‖ of a solve that counts as successful. Where constants are in the kernel, a
    right-hand side with a mean has no solution and fails."""

    reference = "Hockney 1965; Buzbee, Golub and Nielson 1970"

    def refusal(self, profile: Profile) -> str | None:
        """Refuse matrices whose eigenvalues nobody stated."""
        if profile.box is not None or profile.has_boxes:
            return None
        return (
            "solver fft needs constant coefficients on a box, which this system does not state; "
            "use `auto` or `direct`"
        )

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver with the eigenvalues of the profile."""
        return FFTSolver(self, profile)


class FFTSolver(Solver):
    """The eigenvalues that all samples share, unless a sample has its own."""

    def __init__(self, spec: FFTSpec, profile: Profile) -> None:
        self._tolerance = spec.tolerance
        self._shared = None if profile.box is None else BoxInverse(profile.box)

    def solve(self, problem: LinearProblem) -> Solution:
        """Solve by fast transforms."""
        if (known := trivial(problem)) is not None:
            return known
        inverse = self._shared if problem.box is None else BoxInverse(problem.box)
        if inverse is None:
            raise InvalidInput(
                "solver fft: a problem came without its box operator, and the system has none for all",
                "choose `auto` or `direct`",
            )
        return outcome(problem, inverse(problem.rhs), self._tolerance, applications=1)
