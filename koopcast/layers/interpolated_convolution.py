"""Convolution whose kernel keeps its size in the domain on every grid."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolution import Taps, convolve
from koopcast.layers.matrices import along_axis, stored


class InterpolatedConvolution(Taps):
    """A convolution on its base grid; elsewhere the kernel is interpolated between its taps.

    Each learned tap is spread over a hat, one base spacing to either side (one new spacing, where that is
    wider), and keeps its sum. The taps on a finer grid thus read the piecewise linear kernel through the
    learned ones, 0 beyond them, and their sum over the field is the trapezoidal rule for an integral.
    """

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the convolution with the kernel as the grid of `x` sees it."""
        weight = resampled_kernel(self.weight, self.grid, x.shape[1:-1])
        return convolve(x, weight, self.bias, self.grid.periodic)


def resampled_kernel(
    weight: Float[Tensor, "channel_out channel_in *tap"], grid: BaseGrid, shape: tuple[int, ...]
) -> Float[Tensor, "channel_out channel_in *new_tap"]:
    """Return the taps of a kernel of the base grid on a grid of `shape`."""
    for axis, refinement in enumerate(grid.refinement(shape), start=2):
        if refinement == 1:
            continue
        matrix = _spreading(weight.shape[axis], refinement, weight.dtype, weight.device)
        weight = along_axis(matrix, weight, axis)
    return weight


@lru_cache(maxsize=64)
def _spreading(taps: int, refinement: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Rows (new tap), columns (tap): hats around the learned taps, each with sum 1."""
    width = max(1.0, 1 / refinement)
    edge = (taps - 1) / 2
    # Hats are 0 at their ends; the tolerance keeps a tap there out that lies within by rounding alone.
    reach = math.ceil((edge + width) * refinement - 1e-9) - 1
    places = torch.arange(-reach, reach + 1, dtype=torch.float64) / refinement
    distance = (places[:, None] - torch.linspace(-edge, edge, taps, dtype=torch.float64)).abs()
    hats = (1 - distance / width).clamp_min(0)
    return stored(hats / hats.sum(0), dtype, device)
