"""Convolutions whose axes end in different ways: channels first, 1 to 3 space axes."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Padding = Literal["zeros", "circular", "reflect"]
"""What lies beyond the two ends of an axis: zeros, the other end, or the mirror image about the end point."""

CONVOLUTIONS = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}
TRANSPOSED = {
    1: nn.functional.conv_transpose1d,
    2: nn.functional.conv_transpose2d,
    3: nn.functional.conv_transpose3d,
}


class PaddedConvolution(nn.Module):
    """y(j) = Σ_k w_k x(stride · j + k) + b with |k| at most half the kernel; ⌈N / stride⌉ points come out.

    Weights and bias are uniform in ± 1 / √(channels_in · kernel points) at the start.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        padding: What lies beyond the ends of each axis.
        kernel: Points of the kernel along each axis, odd.
        stride: Points from one output to the next.
        bias: Whether there is a bias a channel.
        generator: Draws the weights.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        padding: Sequence[Padding],
        *,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        assert kernel % 2 == 1, "an even kernel has no middle"
        self.padding, self.stride, self.reach = tuple(padding), stride, kernel // 2
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, *[kernel] * len(padding)))
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        start(self, channels_in * kernel ** len(padding), generator)

    def forward(
        self, x: Float[Tensor, "batch channel_in *space"]
    ) -> Float[Tensor, "batch channel_out *coarse"]:
        """Return the convolution at every `stride`-th point."""
        by_zeros = [self.reach if mode == "zeros" else 0 for mode in self.padding]
        x = extended(x, self.padding, self.reach)
        result: Tensor = CONVOLUTIONS[len(self.padding)](
            x, self.weight, self.bias, stride=self.stride, padding=by_zeros
        )
        return result


class Prolongation(nn.Module):
    """The transpose of a convolution with stride 2, from ⌈N / 2⌉ to N points of each axis; no bias.

    y(i) = Σ_j w_{i - 2j} x(j). Along an axis with an even number N of points the kernel reaches from 2j - 1
    to 2j + 2, with an odd number from 2j - 1 to 2j + 1. Transposed convolutions know no padding but zeros: on
    other axes the coarse field is extended by a point at both ends, and what comes out is cropped.

    Args:
        channels: Channels in and out.
        padding: What lies beyond the ends of each axis.
        fine: N of each axis.
        generator: Draws the weights: uniform in ± 1 / √(channels · kernel points).
    """

    def __init__(
        self,
        channels: int,
        padding: Sequence[Padding],
        fine: Sequence[int],
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        kernel = [4 if size % 2 == 0 else 3 for size in fine]
        self.padding = tuple(padding)
        self.crop = [1 if mode == "zeros" else 3 for mode in padding]
        self.weight = nn.Parameter(torch.empty(channels, channels, *kernel))
        start(self, channels * math.prod(kernel), generator)

    def forward(self, x: Float[Tensor, "batch channel *coarse"]) -> Float[Tensor, "batch channel *space"]:
        """Return the field on the fine grid."""
        x = extended(x, self.padding, 1)
        result: Tensor = TRANSPOSED[len(self.padding)](x, self.weight, stride=2, padding=self.crop)
        return result


def extended(
    x: Float[Tensor, "batch channel *space"], padding: Sequence[Padding], width: int
) -> Float[Tensor, "batch channel *wider"]:
    """Return x with `width` points more at both ends of each axis that is not padded by zeros."""
    if "circular" in padding:
        x = nn.functional.pad(x, _widths(padding, "circular", width), mode="circular")
    if "reflect" in padding:
        x = nn.functional.pad(x, _widths(padding, "reflect", width), mode="reflect")
    return x


def start(module: nn.Module, fan_in: int, generator: torch.Generator | None) -> None:
    """Draw all parameters of a module uniformly from ± 1 / √fan_in."""
    bound = 1 / math.sqrt(fan_in)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


def channels_first(x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch channel *space"]:
    """Return the same memory as a channels-first tensor: convolutions work on this layout as it is."""
    return x.movedim(-1, 1)


def channels_last(x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch *space channel"]:
    """Return a contiguous channels-last tensor; free of cost if x has this layout in memory."""
    return x.movedim(1, -1).contiguous()


def _widths(padding: Sequence[Padding], kind: Padding, width: int) -> list[int]:
    return [width * (mode == kind) for mode in reversed(padding) for _ in range(2)]
