"""Spectral density by resolvents of the Galerkin matrix, smoothed by a rational kernel."""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.koopman.measures.base import MeasureSpec
from koopcast.numerics.spectral_measures import rational_density


class RationalSpec(MeasureSpec):
    """Resolvents at a distance ε of the circle, combined so that the error falls as εᵐ."""

    kind: Literal["rational"] = "rational"
    order: int = Field(2, ge=1, le=10)
    """Order m of the kernel."""
    epsilon: float = Field(0.1, gt=0, lt=1)
    """Width ε of the kernel: the dictionary needs many more functions than log(1/error)/ε."""

    reference = "Colbrook & Townsend 2024, rational kernels of order m"

    def density(
        self,
        K: Float[Tensor, "function function"],
        f: Float[Tensor, " function"],
        series: Float[Tensor, "sample time"],
        angles: Float[Tensor, " angle"],
    ) -> Float[Tensor, " angle"]:
        """Return the density by one Schur form and triangular systems."""
        return rational_density(K, f, angles, order=self.order, epsilon=self.epsilon)
