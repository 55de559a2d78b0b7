"""Algebraic multigrid: one V-cycle, with a hierarchy that serves similar matrices too."""

from typing import Any, Literal

import numpy as np
import pyamg
import scipy.sparse as sparse
from jaxtyping import Float
from pydantic import Field

from koopcast.linear import LinearProblem, Profile
from koopcast.solvers.preconditioners.base import (
    Apply,
    Preconditioner,
    PreconditionerSpec,
    refusal_of_others,
)

COARSEST = 50
"""Unknowns of a level that is solved by its pseudo-inverse."""

Coarsening = Literal["ruge_stuben", "smoothed_aggregation"]


class AMGSpec(PreconditionerSpec):
    """One V-cycle of algebraic multigrid with symmetric Gauss-Seidel sweeps."""

    kind: Literal["amg"] = "amg"
    coarsening: Coarsening = "ruge_stuben"
    """How coarse levels are chosen: by strong couplings, or by aggregates."""
    growth: float = Field(2.0, ge=1, le=100)
    """The hierarchy of an earlier matrix serves until iterations exceed their first number by this factor."""

    reference = (
        "Ruge and Stüben 1987; Vaněk, Mandel and Brezina 1996; hierarchies by pyamg (Bell et al. 2023)"
    )

    def refusal(self, profile: Profile) -> str | None:
        """Refuse matrices that are not symmetric positive definite."""
        return refusal_of_others("preconditioner amg", profile, "use `ilu`")

    def start(self, profile: Profile) -> Preconditioner:
        """Return a preconditioner without a hierarchy yet."""
        return Multigrid(self)


class Multigrid(Preconditioner):
    """The hierarchy of an earlier matrix, as long as it does its work.

    A hierarchy that fails at the very next matrix shows that the sequence is too rough for any reuse.
    """

    def __init__(self, spec: AMGSpec) -> None:
        self._spec = spec
        self._apply: Apply | None = None
        self._owner: sparse.csr_array | None = None
        self._first: int | None = None
        self._served = 0
        self._is_stale, self._is_rough = True, False
        self.builds = 0

    def prepare(self, problem: LinearProblem) -> Apply | None:
        """Return the V-cycle at hand, or a new one when iterations have grown."""
        if problem.matrix is not self._owner and (self._is_stale or self._is_rough):
            self._apply, self._owner = v_cycle(problem.matrix, self._spec.coarsening), problem.matrix
            self._first, self._served, self._is_stale = None, 0, False
            self.builds += 1
        self._served += 1
        return self._apply

    def learn(self, iterations: int) -> None:
        """Ask for a new hierarchy when iterations have grown by the factor, and by two at least."""
        if self._first is None:
            self._first = iterations
        self._is_stale = iterations > max(self._spec.growth * self._first, self._first + 2)
        self._is_rough |= self._is_stale and self._served == 2


def v_cycle(A: sparse.csr_array, coarsening: Coarsening) -> Apply:
    """Return r -> one V-cycle for A z = r from z = 0."""
    matrix = sparse.csr_matrix(A)
    if coarsening == "ruge_stuben":
        hierarchy = pyamg.ruge_stuben_solver(matrix, max_coarse=COARSEST)
    else:
        # Local weights need no estimate of a spectral radius, which would draw from the global generator.
        smooth = ("jacobi", {"weighting": "local"})
        hierarchy = pyamg.smoothed_aggregation_solver(matrix, max_coarse=COARSEST, smooth=smooth)

    def cycle(number: int, r: Float[np.ndarray, " unknown"]) -> Any:
        level: Any = hierarchy.levels[number]
        if number == len(hierarchy.levels) - 1:
            return hierarchy.coarse_solver(level.A, r)
        z = np.zeros_like(r)
        level.presmoother(level.A, z, r)
        z += level.P @ cycle(number + 1, level.R @ (r - level.A @ z))
        level.postsmoother(level.A, z, r)
        return z

    return lambda r: cycle(0, np.ascontiguousarray(r))
