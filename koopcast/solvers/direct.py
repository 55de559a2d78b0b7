"""Sparse LU: one factor as long as the matrix stays the same."""

from typing import Literal

import numpy as np
import scipy.sparse as sparse
from pydantic import Field
from scipy.sparse.linalg import SuperLU, splu

from koopcast.linear import LinearProblem, Profile, Solution, Status
from koopcast.solvers.base import Solver, SolverSpec
from koopcast.solvers.outcome import broken, outcome, trivial


class DirectSpec(SolverSpec):
    """Sparse LU factors and two triangular solves; a matrix that stays the same is factored once."""

    kind: Literal["direct"] = "direct"
    tolerance: float = Field(1e-9, gt=0, le=1e-1)
    """Largest ‖b - A x‖ / ‖b‖ of a solve that counts as successful."""
    refinements: int = Field(2, ge=0, le=10)
    """Most steps of iterative refinement, taken only while the residual is above the tolerance."""

    reference = "Li 2005 (SuperLU); symmetric matrices: minimum degree on A + Aᵀ, diagonal pivots preferred"

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver that holds no factor yet."""
        return DirectSolver(self, profile)


class DirectSolver(Solver):
    """The factor of the last matrix it met."""

    def __init__(self, spec: DirectSpec, profile: Profile) -> None:
        self._spec = spec
        self._profile = profile
        self._matrix: sparse.csr_array | None = None
        self._factor: SuperLU | None = None

    def solve(self, problem: LinearProblem) -> Solution:
        """Solve by the factor; refine while the residual is above the tolerance."""
        if (known := trivial(problem)) is not None:
            return known
        A, b = problem.matrix, problem.rhs
        if self._matrix is not A:
            self._matrix, self._factor = A, factorised(A, self._profile)
        if self._factor is None:
            return broken(problem)
        x = self._factor.solve(b)
        solution = outcome(problem, x, self._spec.tolerance, applications=1)
        for step in range(self._spec.refinements):
            if solution.status is Status.CONVERGED or not np.isfinite(solution.residual):
                break
            x = solution.value + self._factor.solve(b - A @ solution.value)
            refined = outcome(problem, x, self._spec.tolerance, applications=2 * step + 3)
            solution = min(solution, refined, key=lambda item: item.residual)
        return solution


def factorised(A: sparse.csr_array, profile: Profile) -> SuperLU | None:
    """Return L U = P A Q; None where A is exactly singular."""
    columns = sparse.csc_array(A)
    try:
        if not profile.is_symmetric:
            return splu(columns, permc_spec="COLAMD")
        threshold = 0.0 if profile.is_definite else 0.01
        return splu(
            columns,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=threshold,
            options={"SymmetricMode": True},
        )
    except RuntimeError:
        return None
