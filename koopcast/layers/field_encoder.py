"""A field on a fixed grid as a short vector."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.errors import ShapeMismatch
from koopcast.layers.padding import padded
from koopcast.layers.perceptron import glorot

Encoder = Literal["none", "mlp", "cnn"]
KERNEL = 5
"""Taps of a convolution along each axis."""
STRIDE = 2


class FieldEncoder(nn.Module):
    """`none` the values themselves; `mlp` hidden layers and a linear map; `cnn` convolutions that halve every
    axis, then a linear map; SiLU between them.

    Args:
        kind: Which of these.
        shape: Points of each axis.
        periodic: Which axes close on themselves; beyond the ends of the others the field is 0.
        channels: Channels of the field.
        hidden: Widths of the hidden layers, or channels of the convolutions.
        outputs: Numbers in the end; `none` has as many as values come in.
        generator: Draws the weights: normal after Glorot, biases 0.
    """

    def __init__(
        self,
        kind: Encoder,
        shape: Sequence[int],
        periodic: Sequence[bool],
        *,
        channels: int,
        hidden: Sequence[int],
        outputs: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.shape, self.periodic = kind, tuple(shape), tuple(periodic)
        values = math.prod(shape) * channels
        self.outputs = values if kind == "none" else outputs
        self.kernels, self.biases = nn.ParameterList(), nn.ParameterList()
        self.layers = nn.ModuleList()
        if kind == "mlp":
            pairs = pairwise((values, *hidden, outputs))
            self.layers.extend(glorot(n, m, generator) for n, m in pairs)
        elif kind == "cnn":
            for n, m in pairwise((channels, *hidden)):
                kernel = torch.empty(m, n, *[KERNEL] * len(shape))
                self.kernels.append(nn.Parameter(nn.init.xavier_normal_(kernel, generator=generator)))
                self.biases.append(nn.Parameter(torch.zeros(m)))
                shape = [-(-size // STRIDE) for size in shape]
            self.layers.append(glorot(math.prod(shape) * (channels, *hidden)[-1], outputs, generator))

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch output"]:
        """Return the vector.

        Raises:
            ShapeMismatch: The field lies on another grid.
        """
        if tuple(x.shape[1:-1]) != self.shape:
            raise ShapeMismatch(
                f"the encoder takes fields on a grid {self.shape}, not on {tuple(x.shape[1:-1])}",
                "resample the field",
            )
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = nn.functional.silu(self._convolved(x, kernel, bias))
        h = x.flatten(1)
        for index, layer in enumerate(self.layers):
            h = layer(h if index == 0 else nn.functional.silu(h))
        return h

    def _convolved(
        self, x: Float[Tensor, "batch *space channel"], kernel: Tensor, bias: Tensor
    ) -> Float[Tensor, "batch *smaller channel_out"]:
        convolution = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[len(self.shape) - 1]
        wide = padded(x, [KERNEL // 2] * len(self.shape), self.periodic)
        result: Tensor = convolution(wide.movedim(-1, 1), kernel, bias, stride=STRIDE)
        return result.movedim(1, -1)
