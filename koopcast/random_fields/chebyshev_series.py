"""Random polynomials: Chebyshev series with independent uniform coefficients."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.random_fields.series import SeriesSpec


class ChebyshevSeriesSpec(SeriesSpec):
    """Σ_m c_m Π T_{m_i}(2 x_i / L_i - 1) with c_m uniform on (-amplitude, amplitude)."""

    kind: Literal["chebyshev_series"] = "chebyshev_series"
    degree: int = Field(5, ge=0, le=64)
    """Highest degree along each axis."""

    reference = (
        "Poisson data of Wang et al. 2024 (SKR), whose source varies along x alone; here along every axis"
    )

    def functions(self, size: int) -> Float[Tensor, "term size"]:
        """Return T_m(x) = cos(m arccos x) at equidistant nodes of [-1, 1]."""
        x = torch.linspace(-1, 1, size, dtype=torch.float64).clamp(-1, 1)
        degrees = torch.arange(self.degree + 1, dtype=torch.float64)
        return torch.cos(degrees[:, None] * torch.arccos(x))
