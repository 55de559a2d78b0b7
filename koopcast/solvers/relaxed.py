"""What methods with a relaxation factor share: options, triangular solves, and a learner that picks ω."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float
from pyamg.relaxation.relaxation import gauss_seidel
from pydantic import Field, PositiveInt

from koopcast.linear import LinearProblem, Profile, Solution, Status
from koopcast.solvers.base import Solver, SolverSpec
from koopcast.solvers.learners import AnyOmega, Learner
from koopcast.solvers.learners.fixed import FixedSpec
from koopcast.solvers.outcome import trivial


class Splitting:
    """Triangular solves with D/ω + L and D/ω + U, for A = L + D + U.

    One compiled sweep of Gauss-Seidel from zero is the exact solve, whatever stands in the other triangle:
    nothing is factorised, and a new ω costs a copy of the entries.
    """

    def __init__(self, A: sparse.csr_array, omega: float) -> None:
        self.diagonal: np.ndarray = A.diagonal()
        scaled = A + sparse.diags_array((1.0 / omega - 1.0) * self.diagonal, format="csr")
        self.entries = sparse.csr_array(scaled)

    def solve(
        self, r: Float[np.ndarray, " unknown"], direction: Literal["forward", "backward"]
    ) -> Float[np.ndarray, " unknown"]:
        """Return (D/ω + L)⁻¹ r, or backward (D/ω + U)⁻¹ r."""
        z = np.zeros_like(r)
        gauss_seidel(self.entries, z, r, sweep=direction)
        return z


class RelaxedSpec(SolverSpec):
    """Options of a method with a relaxation factor, for symmetric positive definite matrices."""

    omega: AnyOmega = FixedSpec()
    """Relaxation factor ω in (0, 2): a number, or a learner that picks it system by system."""
    tolerance: float = Field(1e-8, gt=0, lt=1)
    """Stop at ||b - A x|| < tolerance ||b||."""
    max_iterations: PositiveInt = 10_000
    """Iterations before giving up; also the cost that a learner sees then."""

    def refusal(self, profile: Profile) -> str | None:
        """Refuse matrices for which convergence at every ω in (0, 2) is no theorem."""
        if profile.is_symmetric and profile.is_definite:
            return None
        trait = "indefinite" if profile.is_symmetric else "not symmetric"
        return f"{self.kind} converges on symmetric positive definite matrices, these are {trait}; use gmres"

    def build(self, profile: Profile, generator: np.random.Generator) -> "Relaxed":
        """Return a solver whose learner knows nothing yet."""
        return Relaxed(self, self.omega.build(generator))

    @abstractmethod
    def iterate(
        self, A: sparse.csr_array, b: Float[np.ndarray, " unknown"], omega: float
    ) -> tuple[Float[np.ndarray, " unknown"], int, Status]:
        """Return x, the number of iterations from x = 0, and how they ended."""


class Relaxed(Solver):
    """A method with a relaxation factor, and the learner that picks it."""

    def __init__(self, spec: RelaxedSpec, learner: Learner) -> None:
        self.spec, self.learner = spec, learner

    def solve(self, problem: LinearProblem) -> Solution:
        """Choose ω, solve, and tell the learner how many iterations it took."""
        A, b = problem.matrix, problem.rhs
        omega = self.learner.choose(problem.context)
        if (ended := trivial(problem)) is not None:
            return replace(ended, figures={"omega": omega, "cost": 0.0})
        x, iterations, status = self.spec.iterate(A, b, omega)
        cost = iterations if status is Status.CONVERGED else self.spec.max_iterations
        self.learner.learn(float(cost))
        residual = float(np.linalg.norm(b - A @ x) / np.linalg.norm(b))
        figures = {"omega": omega, "cost": float(cost)}
        return Solution(x, status, residual, iterations, iterations + 1, figures)

    def state(self) -> dict[str, np.ndarray]:
        """Return what the learner knows, for later sequences to go on from."""
        return self.learner.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what an earlier sequence taught."""
        self.learner.restore(state)
