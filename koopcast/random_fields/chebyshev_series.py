"""Random polynomials: Chebyshev series with independent uniform coefficients."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.grids import Axis
from koopcast.random_fields.base import RandomFieldSpec


class ChebyshevSeriesSpec(RandomFieldSpec):
    """Σ_m c_m Π T_{m_i}(2 x_i / L_i - 1) with c_m uniform on (-amplitude, amplitude)."""

    kind: Literal["chebyshev_series"] = "chebyshev_series"
    degree: int = Field(5, ge=0, le=64)
    """Highest degree along each axis."""
    amplitude: PositiveFloat = 1.0
    """Greatest size of a coefficient."""

    reference = (
        "Poisson data of Wang et al. 2024 (SKR), whose source varies along x alone; here along every axis"
    )

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why the law has no meaning on such axes."""
        if any(axis.periodic or axis.size < 2 for axis in axes):
            return "chebyshev_series does not close on a periodic axis; choose a periodic field"
        return None

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw the coefficients; their number does not depend on the grid."""
        terms, device = self.degree + 1, generator.device
        shape = (count, *[terms] * len(axes))
        values = torch.rand(shape, generator=generator, device=device, dtype=torch.float64) * 2 - 1
        for axis in axes:
            # The axis summed is the first after the samples, and its nodes go last: after all, in order.
            basis = _polynomials(axis.size, terms).to(device)
            values = torch.einsum("cm...,mx->c...x", values, basis)
        return self.amplitude * values


def _polynomials(size: int, terms: int) -> Float[Tensor, "term size"]:
    """Return T_m(x) = cos(m arccos x) at equidistant nodes of [-1, 1]."""
    x = torch.linspace(-1, 1, size, dtype=torch.float64).clamp(-1, 1)
    degrees = torch.arange(terms, dtype=torch.float64)
    return torch.cos(degrees[:, None] * torch.arccos(x))
