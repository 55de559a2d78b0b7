"""A U-Net as an operator: its coarser levels live on grids of fixed spacing."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.coordinates import with_positions
from koopcast.layers.pointwise import ChannelMLP, Linear
from koopcast.layers.resampling import Interpolation, resample
from koopcast.operators.cnn_no_network import ConvolutionalArchitecture


class UNet(nn.Module):
    """Residual blocks on ever coarser grids, then back, each level joined with what went down through it.

    Level 0 is the grid of the input; level l > 0 has 2^l times the spacing of the base grid, whatever the
    input's: features go down as means under hats and up by linear interpolation (by waves where differences
    follow), both of which converge as the input's grid is refined. With plain convolutions level l has 2^l
    times the input's own spacing, as in the ordinary network.

    Args:
        chosen: Sizes and choices; `width` is that of level 0.
        multipliers: Width of each level in units of that of level 0.
        generator: Draws the weights.
    """

    def __init__(
        self,
        chosen: ConvolutionalArchitecture,
        multipliers: tuple[int, ...],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.chosen = chosen
        widths = [chosen.width * multiplier for multiplier in multipliers]
        self.grids = [
            chosen.grid.coarsened(2**level) if level else chosen.grid for level in range(len(widths))
        ]
        # Lines have kinks, which differences of differences would turn into peaks that grow with the grid.
        self.upward: Interpolation = "fourier" if chosen.convolution.kind == "finite_diff" else "bilinear"
        self.lift = Linear(chosen.channels_lifted, widths[0], generator=generator)
        self.down = nn.ModuleList(
            self._block(level, widths[max(0, level - 1)], width, generator)
            for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            self._block(level, widths[level] + widths[level + 1], widths[level], generator)
            for level in range(len(widths) - 1)
        )
        self.project = ChannelMLP(widths[0], 2 * widths[0], chosen.channels_out, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        periodic = self.chosen.grid.periodic
        h = self.lift(with_positions(x, periodic) if self.chosen.has_positions else x)
        passed: list[Tensor] = []
        for level, block in enumerate(self.down):
            h = block(resample(h, self._shape(level, x.shape[1:-1]), periodic, "average"))
            passed.append(h)
        for level in reversed(range(len(self.up))):
            finer = passed[level]
            coarse = resample(h, finer.shape[1:-1], periodic, self.upward)
            h = self.up[level](torch.cat([finer, coarse], dim=-1))
        result: Tensor = self.project(h)
        return result

    def _shape(self, level: int, given: torch.Size) -> tuple[int, ...]:
        if level == 0:
            return tuple(given)
        if self.chosen.convolution.kind == "plain":
            own = BaseGrid(tuple(given), self.chosen.grid.periodic, self.chosen.grid.lengths)
            return own.coarsened(2**level).shape
        return self.grids[level].shape

    def _block(
        self, level: int, channels_in: int, channels_out: int, generator: torch.Generator | None
    ) -> nn.Module:
        return self.chosen.block(
            channels_in, channels_out, generator, grid=self.grids[level], magnification=2.0**level
        )
