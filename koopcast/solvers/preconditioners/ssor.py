"""One forward and one backward sweep of successive over-relaxation."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from koopcast.linear import LinearProblem, Profile
from koopcast.solvers.preconditioners.base import Apply, Fresh, Preconditioner, PreconditionerSpec
from koopcast.solvers.relaxed import Splitting


class SSORSpec(PreconditionerSpec):
    """A forward and a backward sweep from zero, M = (2 - ω)/ω (D/ω + U)⁻¹ D (D/ω + L)⁻¹."""

    kind: Literal["ssor"] = "ssor"
    omega: float = Field(1.0, gt=0, lt=2)
    """Relaxation factor ω; 1 is symmetric Gauss-Seidel."""

    reference = "Young 1971; sweeps by pyamg"

    def start(self, profile: Profile) -> Preconditioner:
        """Return a preconditioner that copies every new matrix with a scaled diagonal."""
        return Fresh(self._made)

    def _made(self, problem: LinearProblem) -> Apply | None:
        splitting = Splitting(problem.matrix, self.omega)
        scale = (2 - self.omega) / self.omega * splitting.diagonal
        if np.any(scale == 0):
            return None

        def apply(r: Float[np.ndarray, " unknown"]) -> Float[np.ndarray, " unknown"]:
            z = splitting.solve(np.ascontiguousarray(r), "forward")
            return splitting.solve(scale * z, "backward")

        return apply
