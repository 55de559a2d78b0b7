"""Random polynomials: power series with independent uniform coefficients."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.grids import Axis
from koopcast.random_fields.base import RandomFieldSpec


class PowerSeriesSpec(RandomFieldSpec):
    """Σ_m a_m Π (x_i / L_i)^{m_i} with a_m uniform on (-amplitude, amplitude)."""

    kind: Literal["power_series"] = "power_series"
    degree: int = Field(19, ge=0, le=127)
    """Highest power along each axis."""
    amplitude: PositiveFloat = 1.0
    """Greatest size of a coefficient."""

    reference = "input functions of Lu et al. 2021 (DeepONet)"

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why the law has no meaning on such axes."""
        if any(axis.periodic or axis.size < 2 for axis in axes):
            return "power_series does not close on a periodic axis; choose a periodic field"
        return None

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw the coefficients; their number does not depend on the grid."""
        terms, device = self.degree + 1, generator.device
        shape = (count, *[terms] * len(axes))
        values = torch.rand(shape, generator=generator, device=device, dtype=torch.float64) * 2 - 1
        powers = torch.arange(terms, dtype=torch.float64, device=device)[:, None]
        for axis in axes:
            # The axis summed is the first after the samples, and its nodes go last: after all, in order.
            x = torch.linspace(0, 1, axis.size, dtype=torch.float64, device=device)
            values = torch.einsum("cm...,mx->c...x", values, x**powers)
        return self.amplitude * values
