"""Random series: products of functions of one axis each, with independent uniform coefficients."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.grids import Axis
from koopcast.random_fields.base import RandomFieldSpec


class SeriesSpec(RandomFieldSpec):
    """Σ_m c_m Π f_{m_i}(x_i) with c_m uniform on (-amplitude, amplitude)."""

    degree: int
    """Highest degree along each axis."""
    amplitude: PositiveFloat = 1.0
    """Greatest size of a coefficient."""

    @abstractmethod
    def functions(self, size: int) -> Float[Tensor, "term size"]:
        """Return f_0, ..., f_degree at equidistant nodes of an axis, float64."""

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why the law has no meaning on such axes."""
        if any(axis.periodic or axis.size < 2 for axis in axes):
            return f"{self.kind} does not close on a periodic axis; choose a periodic field"
        return None

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw the coefficients; their number does not depend on the grid."""
        device = generator.device
        shape = (count, *[self.degree + 1] * len(axes))
        values = torch.rand(shape, generator=generator, device=device, dtype=torch.float64) * 2 - 1
        for axis in axes:
            # The axis summed is the first after the samples, and its nodes go last: after all, in order.
            values = torch.einsum("cm...,mx->c...x", values, self.functions(axis.size).to(device))
        return self.amplitude * values
