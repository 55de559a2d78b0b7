"""Successive over-relaxation."""

from typing import Literal

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float

from koopcast.linear import Status
from koopcast.solvers.relaxed import RelaxedSpec, Splitting

GROWN = 1e50
"""Times the residual that is asked for: sweeps that come to this grow without end."""


class SORSpec(RelaxedSpec):
    """Gauss-Seidel sweeps, each step stretched by ω."""

    kind: Literal["sor"] = "sor"

    reference = (
        "Young 1954, Iterative methods for solving partial difference equations, Trans. AMS 76; learned ω: "
        "Khodak, Chow, Balcan and Talwalkar 2024, Learning to Relax, ICLR"
    )

    def iterate(
        self, A: sparse.csr_array, b: Float[np.ndarray, " unknown"], omega: float
    ) -> tuple[Float[np.ndarray, " unknown"], int, Status]:
        """Repeat x ← x + (D/ω + L)⁻¹ r, r = b - A x."""
        splitting = Splitting(A, omega)
        x, r = np.zeros_like(b), b.copy()
        enough = self.tolerance * np.linalg.norm(b)
        for iteration in range(1, self.max_iterations + 1):
            z = splitting.solve(r, "forward")
            x += z
            r -= A @ z
            size = np.linalg.norm(r)
            if size < enough:
                return x, iteration, Status.CONVERGED
            if not size < GROWN * enough:
                return x, iteration, Status.BROKE_DOWN
        return x, self.max_iterations, Status.OUT_OF_BUDGET
