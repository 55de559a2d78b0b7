"""Division by the diagonal."""

from typing import Literal

import numpy as np

from koopcast.linear import LinearProblem, Profile
from koopcast.solvers.preconditioners.base import Apply, Fresh, Preconditioner, PreconditionerSpec


class JacobiSpec(PreconditionerSpec):
    """The inverse of the diagonal, M = D⁻¹."""

    kind: Literal["jacobi"] = "jacobi"

    reference = "Jacobi 1845"

    def start(self, profile: Profile) -> Preconditioner:
        """Return a preconditioner that reads the diagonal of every new matrix."""
        return Fresh(jacobi)


def jacobi(problem: LinearProblem) -> Apply | None:
    """Return r -> D⁻¹ r; None where the diagonal holds a zero."""
    diagonal = problem.matrix.diagonal()
    if np.any(diagonal == 0):
        return None
    inverse = 1 / diagonal
    return lambda r: inverse * r
