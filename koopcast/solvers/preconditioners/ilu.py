"""Incomplete LU factors with dropping."""

from typing import Literal

import scipy.sparse as sparse
from pydantic import Field
from scipy.sparse.linalg import spilu

from koopcast.linear import LinearProblem, Profile
from koopcast.solvers.preconditioners.base import Apply, Fresh, Preconditioner, PreconditionerSpec


class ILUSpec(PreconditionerSpec):
    """Incomplete LU factors with a threshold and a bound on fill, M = (L U)⁻¹."""

    kind: Literal["ilu"] = "ilu"
    drop_tolerance: float = Field(1e-3, ge=0, le=1)
    """Entries below this share of their column are dropped."""
    fill_factor: float = Field(5.0, ge=1, le=100)
    """Most entries of L and U, as a multiple of those of A."""

    keeps_definite = False
    reference = "Li and Shao 2011 (SuperLU)"

    def start(self, profile: Profile) -> Preconditioner:
        """Return a preconditioner that factors every new matrix."""
        return Fresh(self._made)

    def _made(self, problem: LinearProblem) -> Apply | None:
        try:
            factor = spilu(
                sparse.csc_array(problem.matrix),
                drop_tol=self.drop_tolerance,
                fill_factor=self.fill_factor,
            )
        except RuntimeError:
            return None
        return factor.solve
