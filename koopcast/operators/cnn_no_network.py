"""A residual convolutional network as an operator: channels-last, on any grid."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolutions import ConvolutionChoice, DomainNorm, ResidualBlock
from koopcast.layers.coordinates import num_positions, with_positions
from koopcast.layers.pointwise import ChannelMLP, Linear


@dataclass(frozen=True)
class ConvolutionalArchitecture:
    """Sizes and choices of a convolutional operator."""

    channels_in: int
    channels_out: int
    grid: BaseGrid
    """To which the weights refer."""
    convolution: ConvolutionChoice
    width: int
    norm: DomainNorm = "none"
    has_positions: bool = True
    """Places as extra channels."""

    @property
    def channels_lifted(self) -> int:
        """Channels that enter the first map."""
        return self.channels_in + (num_positions(self.grid.periodic) if self.has_positions else 0)

    def block(
        self,
        channels_in: int,
        channels_out: int,
        generator: torch.Generator | None,
        *,
        grid: BaseGrid | None = None,
        magnification: float = 1.0,
    ) -> ResidualBlock:
        """Return a residual block whose weights refer to `grid`."""
        grid = self.grid if grid is None else grid
        first, second = (
            self.convolution.build(channels, channels_out, grid, generator, magnification=magnification)
            for channels in (channels_in, channels_out)
        )
        return ResidualBlock(
            channels_in,
            channels_out,
            (first, second),
            norm=self.norm,
            periodic=grid.periodic,
            generator=generator,
        )


class ResidualCNN(nn.Module):
    """u = Q(B_L(… B_1(P(a, x)))) with P and Q pointwise and residual blocks B_l of two convolutions."""

    def __init__(
        self, chosen: ConvolutionalArchitecture, layers: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.chosen = chosen
        width = chosen.width
        self.lift = Linear(chosen.channels_lifted, width, generator=generator)
        self.blocks = nn.ModuleList(chosen.block(width, width, generator) for _ in range(layers))
        self.project = ChannelMLP(width, 2 * width, chosen.channels_out, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        h = self.lift(with_positions(x, self.chosen.grid.periodic) if self.chosen.has_positions else x)
        for block in self.blocks:
            h = block(h)
        result: Tensor = self.project(h)
        return result
