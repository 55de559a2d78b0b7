"""What iterative solvers share: counting, stopping by the true residual, and the options of both."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from pydantic import Field

from koopcast.linear import LinearProblem, Profile, Solution, Status
from koopcast.solvers.base import Solver, SolverSpec
from koopcast.solvers.outcome import broken, trivial
from koopcast.solvers.preconditioners import AnyPreconditioner, NoneSpec
from koopcast.solvers.preconditioners.base import Apply, Preconditioner

WORTH_WHILE = 0.9
"""Factor by which the true residual must fall for a method that stopped early to be called again."""


class IterativeSpec(SolverSpec):
    """Options of an iterative solver."""

    tolerance: float = Field(1e-8, ge=1e-14, le=1e-1)
    """Stop at ‖b - A x‖ ≤ tolerance ‖b‖."""
    max_iterations: int = Field(10_000, ge=1)
    """Iterations before giving up."""


class PreconditionedSpec(IterativeSpec):
    """Options of an iterative solver that takes a preconditioner."""

    preconditioner: AnyPreconditioner = NoneSpec()
    """M ≈ A⁻¹."""

    def refusal(self, profile: Profile) -> str | None:
        """Refuse what the preconditioner refuses."""
        return self.preconditioner.refusal(profile)


class Operator:
    """y -> A M y; it counts products with A."""

    def __init__(self, problem: LinearProblem, precondition: Apply) -> None:
        self.matrix = problem.matrix
        self.precondition = precondition
        self.applications = 0

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Return A M y."""
        self.applications += 1
        product: np.ndarray = self.matrix @ self.precondition(y)
        return product

    def product(self, x: np.ndarray) -> np.ndarray:
        """Return A x."""
        self.applications += 1
        product: np.ndarray = self.matrix @ x
        return product


@dataclass(frozen=True)
class Correction:
    """What a method found: A dx ≈ r."""

    value: Float[np.ndarray, " unknown"]
    iterations: int


class Method(ABC):
    """A Krylov method, with what it carries from system to system."""

    @abstractmethod
    def correct(
        self, operator: Operator, r: Float[np.ndarray, " unknown"], target: float, budget: int
    ) -> Correction:
        """Return dx with ‖r - A dx‖ ≤ target by the method's own estimate, or the best it can do.

        A new system comes with a new operator.
        """

    def figures(self) -> dict[str, float]:
        """Return what is worth a column beside the solution."""
        return {}


class IterativeSolver(Solver):
    """A Krylov method with a preconditioner; its outcome is judged by the true residual."""

    def __init__(self, method: Method, preconditioner: Preconditioner, limits: IterativeSpec) -> None:
        self._method = method
        self._preconditioner = preconditioner
        self._limits = limits

    def solve(self, problem: LinearProblem) -> Solution:
        """Solve A x = b from x = 0."""
        if (known := trivial(problem)) is not None:
            return known
        apply = self._preconditioner.prepare(problem)
        if apply is None:
            return broken(problem)
        operator = Operator(problem, apply)
        # Of size one, no right-hand side overflows or vanishes when it is squared.
        size = np.abs(problem.rhs).max()
        solution = self._iterated(operator, problem.rhs / size)
        solution = replace(solution, value=size * solution.value)
        self._preconditioner.learn(solution.iterations)
        return solution

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def _iterated(self, operator: Operator, b: np.ndarray) -> Solution:
        size, limit = norm(b), self._limits.max_iterations
        target = self._limits.tolerance * size
        x, r, iterations, status = np.zeros_like(b), b, 0, Status.BROKE_DOWN
        while True:
            step = self._method.correct(operator, r, target, limit - iterations)
            iterations += step.iterations
            before, better = norm(r), x + step.value
            rest = b - operator.product(better)
            if norm(rest) < before:
                x, r = better, rest
            if norm(r) <= target:
                status = Status.CONVERGED
            elif iterations >= limit:
                status = Status.OUT_OF_BUDGET
            elif norm(r) < WORTH_WHILE * before:
                continue
            figures = self._method.figures()
            return Solution(x, status, norm(r) / size, iterations, operator.applications, figures)


def norm(x: np.ndarray) -> float:
    """Return ‖x‖."""
    return math.sqrt(x @ x)
