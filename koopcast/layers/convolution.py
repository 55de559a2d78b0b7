"""Convolution over the grid with learned taps, as networks have it."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.padding import Beyond, padded


class Taps(nn.Module):
    """Weights of a kernel, uniform in ± 1 / √(k^d channels_in) at the start, and so the bias; 1 or 2 space
    axes.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        kernel: Taps k of each axis, odd.
        grid: Says which axes are periodic; beyond the ends of the others the field is 0.
        has_bias: Add one number a channel.
        generator: Draws the weights.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        grid: BaseGrid,
        *,
        has_bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.kernel = kernel
        axes = len(grid.shape)
        bound = 1 / math.sqrt(kernel**axes * channels_in)
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, *[kernel] * axes))
        self.bias = nn.Parameter(torch.empty(channels_out)) if has_bias else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


class Convolution(Taps):
    """y(n) = Σ_j W_j x(n + j) + b over the taps |j| ≤ (k - 1) / 2 of each axis.

    The taps are points of whatever grid comes in: on a finer grid the same weights see a smaller part of the
    domain, and in the limit act pointwise.
    """

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the convolution."""
        return convolve(x, self.weight, self.bias, self.grid.periodic)


def convolve(
    x: Float[Tensor, "batch *space channel_in"],
    weight: Float[Tensor, "channel_out channel_in *tap"],
    bias: Float[Tensor, " channel_out"] | None,
    periodic: Sequence[bool],
    *,
    beyond: Beyond = "zeros",
) -> Float[Tensor, "batch *space channel_out"]:
    """Return Σ_j W_j x(n + j) + b for an odd number of taps of each axis, on the grid of x."""
    widths = [taps // 2 for taps in weight.shape[2:]]
    wide = padded(x, widths, periodic, beyond)
    if len(widths) == 1:
        # One long row of a plane: the library's planes are read with channels last, its lines are not.
        plane = wide[:, None].movedim(-1, 1)
        return nn.functional.conv2d(plane, weight[:, :, None], bias).movedim(1, -1)[:, 0]
    return nn.functional.conv2d(wide.movedim(-1, 1), weight, bias).movedim(1, -1)
