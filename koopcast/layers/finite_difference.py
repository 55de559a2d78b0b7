"""Convolution that tends to a derivative as the grid is refined."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolution import Taps, convolve


class FiniteDifference(Taps):
    """y(n) = s Σ_j K_j (x(n + j) - x(n)), s the refinement over the base grid; no bias.

    With taps j at distances j h, h = 1 / s in base spacings, the limit is the derivative Σ_j K_j j · ∇x.
    Where the axes are refined differently s is the geometric mean. Beyond the ends of closed axes the field
    goes on straight, so that the limit holds there too: zeros would make a step of size 1 / h.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        grid: BaseGrid,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, grid, has_bias=False, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the differences."""
        refinements = self.grid.refinement(x.shape[1:-1])
        scale = math.prod(refinements) ** (1 / len(refinements))
        total = self.weight.flatten(2).sum(-1)
        centre = torch.zeros_like(self.weight[0, 0])
        centre[(self.kernel // 2,) * centre.ndim] = 1
        kernel = self.weight - total.reshape(*total.shape, *[1] * centre.ndim) * centre
        return convolve(x, scale * kernel, None, self.grid.periodic, beyond="linear")
