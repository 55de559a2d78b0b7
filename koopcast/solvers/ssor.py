"""Conjugate gradients with symmetric over-relaxation as preconditioner."""

from typing import Literal

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float

from koopcast.linear import Status
from koopcast.solvers.relaxed import RelaxedSpec, Splitting


class SSORSpec(RelaxedSpec):
    """Conjugate gradients, each residual passed through a forward and a backward sweep stretched by ω."""

    kind: Literal["ssor"] = "ssor"

    reference = (
        "Axelsson 1972, A generalized SSOR method, BIT 12; learned ω: Khodak, Chow, Balcan and Talwalkar "
        "2024, Learning to Relax, ICLR"
    )

    def iterate(
        self, A: sparse.csr_array, b: Float[np.ndarray, " unknown"], omega: float
    ) -> tuple[Float[np.ndarray, " unknown"], int, Status]:
        """Minimise the error in the norm of A over the Krylov space of M⁻¹ A."""
        precondition = SSOR(A, omega)
        x, r = np.zeros_like(b), b.copy()
        enough = self.tolerance * np.linalg.norm(b)
        p, gain = np.zeros_like(b), np.inf
        for iteration in range(1, self.max_iterations + 1):
            z = precondition(r)
            before, gain = gain, r @ z
            p = z + (gain / before) * p
            Ap = A @ p
            curvature = p @ Ap
            if not (curvature > 0 and np.isfinite(gain)):
                return x, iteration, Status.BROKE_DOWN
            x += (gain / curvature) * p
            r -= (gain / curvature) * Ap
            if np.linalg.norm(r) < enough:
                return x, iteration, Status.CONVERGED
        return x, self.max_iterations, Status.OUT_OF_BUDGET


class SSOR:
    """r ↦ M⁻¹ r for M = (D + ω L) D⁻¹ (D + ω L)ᵀ / (ω (2 - ω)) and symmetric A = L + D + Lᵀ."""

    def __init__(self, A: sparse.csr_array, omega: float) -> None:
        self.splitting, self.omega = Splitting(A, omega), omega

    def __call__(self, r: Float[np.ndarray, " unknown"]) -> Float[np.ndarray, " unknown"]:
        """Return M⁻¹ r = (2/ω - 1) (D/ω + Lᵀ)⁻¹ D (D/ω + L)⁻¹ r."""
        half = self.splitting.solve(r, "forward")
        scale = 2.0 / self.omega - 1.0
        return self.splitting.solve(scale * self.splitting.diagonal * half, "backward")
