"""A method on trial, as long as it stays within its budget."""

from dataclasses import replace

from koopcast.linear import LinearProblem, Solution, Status
from koopcast.solvers.base import Solver


class Trial(Solver):
    """Solves by the first method until a system fails; that one and all later ones go to the second."""

    def __init__(self, first: Solver, second: Solver) -> None:
        self._first: Solver | None = first
        self._second = second

    def solve(self, problem: LinearProblem) -> Solution:
        """Solve, and count the work of both attempts."""
        if self._first is None:
            return self._second.solve(problem)
        attempt = self._first.solve(problem)
        if attempt.status is Status.CONVERGED:
            return attempt
        self._first = None
        solution = self._second.solve(problem)
        return replace(
            solution,
            iterations=attempt.iterations + solution.iterations,
            applications=attempt.applications + solution.applications,
        )
