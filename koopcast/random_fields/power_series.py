"""Random polynomials: power series with independent uniform coefficients."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.random_fields.series import SeriesSpec


class PowerSeriesSpec(SeriesSpec):
    """Σ_m a_m Π (x_i / L_i)^{m_i} with a_m uniform on (-amplitude, amplitude)."""

    kind: Literal["power_series"] = "power_series"
    degree: int = Field(19, ge=0, le=127)
    """Highest power along each axis."""

    reference = "input functions of Lu et al. 2021 (DeepONet)"

    def functions(self, size: int) -> Float[Tensor, "term size"]:
        """Return x^m at equidistant nodes of [0, 1]."""
        powers = torch.arange(self.degree + 1, dtype=torch.float64)[:, None]
        return torch.linspace(0, 1, size, dtype=torch.float64) ** powers
