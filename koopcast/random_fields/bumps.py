"""Sums of Gaussian bumps at random places."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.grids import Axis
from koopcast.numerics.geometry import implied_coordinates
from koopcast.random_fields.base import RandomFieldSpec


class BumpsSpec(RandomFieldSpec):
    """Σ_i exp(-|x - c_i|² / (2 w_i²)), centres uniform on the domain, widths uniform up to a greatest one."""

    kind: Literal["bumps"] = "bumps"
    number: PositiveInt = 5
    """Bumps in a field."""
    width: PositiveFloat = 0.5
    """Greatest width w, in units of the axes."""

    reference = "Coefficients of the Darcy data of PDEBench (Takamoto et al. 2022)"

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why the law has no meaning on such axes."""
        if any(axis.periodic for axis in axes):
            return "bumps do not close on a periodic axis; choose a periodic field"
        return None

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw centres and widths, bump by bump; a bump is a product over the axes."""
        device, shape = generator.device, (count, self.number)
        uniform = torch.rand(*shape, len(axes) + 1, generator=generator, device=device, dtype=torch.float64)
        precision = 0.5 / (self.width * (1 - uniform[..., -1:])) ** 2
        product = torch.ones(*shape, device=device, dtype=torch.float64)
        for i, axis in enumerate(axes):
            x = implied_coordinates(axis).to(device)
            centre = uniform[..., i : i + 1] * x[-1]
            factor = torch.exp(-precision * (x - centre) ** 2)
            product = product[..., None] * factor.reshape(*shape, *[1] * i, -1)
        return product.sum(dim=1)
