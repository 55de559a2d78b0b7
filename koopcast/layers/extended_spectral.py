"""Spectral convolution on closed axes, whose period in the domain does not depend on the grid."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.spectral_convolution import SpectralConvolution


class ExtendedSpectral(nn.Module):
    """A spectral convolution of the field continued by zeros behind each closed axis, seen on the axis.

    N points of a closed axis of length 1 get as many zeros as make a period of 1 + `extension` at their
    spacing 1 / (N - 1). Taken as a circle without them its period would be N / (N - 1), which shrinks as the
    grid is refined, and with it every wave.

    Args:
        channels: Channels of input and output.
        modes: Kept modes of each axis, both signs counted.
        periodic: Which axes are periodic; these are left as they are.
        extension: Length of the zeros, in units of the axis.
        generator: Draws the weights.
    """

    def __init__(
        self,
        channels: int,
        modes: Sequence[int],
        periodic: Sequence[bool],
        *,
        extension: float = 0.25,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.periodic, self.extension = tuple(periodic), extension
        self.spectral = SpectralConvolution(channels, channels, modes, generator=generator)

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return the convolution on the grid of `x`."""
        shape = x.shape[1:-1]
        widths = [
            0 if is_periodic else max(0, round((1 + self.extension) * (size - 1)) - size)
            for size, is_periodic in zip(shape, self.periodic, strict=True)
        ]
        if any(widths):
            x = nn.functional.pad(x, (0, 0, *(side for width in reversed(widths) for side in (0, width))))
        x = self.spectral(x)
        for dim, size in enumerate(shape, start=1):
            x = x.narrow(dim, 0, size)
        return x
