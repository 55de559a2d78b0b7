"""The latent spectral model as a network: a U-Net whose skips pass neural spectral blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.neural_spectral import NeuralSpectralBlock
from koopcast.layers.padded_convolution import PaddedConvolution, Padding, channels_first, channels_last
from koopcast.layers.pointwise import ChannelMLP, Linear
from koopcast.layers.positions import grid_positions

Norm = Literal["batch", "instance"]

HEAD_WIDTH = 128
"""Hidden channels of the last pointwise network."""
BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOLS = {1: nn.functional.max_pool1d, 2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}
INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices of a latent spectral model; `patch`, `appended` and `periodic` have one entry a space
    axis, `appended` says how many points are added at the far end.
    """

    channels_in: int
    channels_out: int
    patch: tuple[int, ...]
    appended: tuple[int, ...]
    periodic: tuple[bool, ...]
    width: int = 16
    levels: int = 3
    tokens: int = 4
    basis: int = 12
    heads: int = 8
    spectral: bool = True
    scale_attention: bool = False
    norm: Norm = "batch"

    @property
    def padding(self) -> tuple[Padding, ...]:
        """What convolutions see beyond each axis: the other end, where the grid is the whole circle."""
        return tuple(
            "circular" if is_periodic and count == 0 else "zeros"
            for is_periodic, count in zip(self.periodic, self.appended, strict=True)
        )

    @property
    def widths(self) -> list[int]:
        """Channels of each level: doubled from level to level, but for the last."""
        doubled = [self.width * 2**level for level in range(self.levels)]
        return doubled if self.levels == 1 else [*doubled[:-1], doubled[-2]]


class LSM(nn.Module):
    """u = Q(U(P(a, x))) with P and Q pointwise and U a U-Net, level l of whose skips, and whose bottom, pass
    a neural spectral block.
    """

    def __init__(self, architecture: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.architecture = chosen = architecture
        widths = chosen.widths
        self.lift = Linear(chosen.channels_in + len(chosen.patch), chosen.width, generator=generator)
        # Level l comes in with the channels of the level above it, level 0 with those of the lift.
        self.encoders = nn.ModuleList(
            DoubleConvolution(chosen, above, own, own, generator)
            for above, own in zip([chosen.width, *widths[:-1]], widths, strict=True)
        )
        self.blocks = nn.ModuleList(
            NeuralSpectralBlock(
                width,
                chosen.patch,
                tokens=chosen.tokens,
                basis=chosen.basis,
                heads=chosen.heads,
                is_scaled=chosen.scale_attention,
                generator=generator,
            )
            for width in (widths if chosen.spectral else [])
        )
        # Level l gives the channels that level l - 1 has, so that what it meets there doubles them.
        self.decoders = nn.ModuleList(
            DoubleConvolution(chosen, 2 * own, own, above, generator)
            for above, own in zip([chosen.width, *widths], widths[:-1], strict=False)
        )
        self.mix = Linear(chosen.width, chosen.width, generator=generator)
        self.project = ChannelMLP(chosen.width, HEAD_WIDTH, chosen.channels_out, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        shape = x.shape[1:-1]
        grid = grid_positions(shape, self.architecture.periodic, dtype=x.dtype, device=x.device)
        lifted = self.lift(torch.cat([x, grid.expand(len(x), *grid.shape)], dim=-1))
        features = channels_last(self._u_net(self._appended(channels_first(lifted))))
        for dim, size in enumerate(shape, start=1):
            features = features.narrow(dim, 0, size)
        result: Tensor = self.project(self.mix(features))
        return result

    def _u_net(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        dims = len(self.architecture.patch)
        skips = []
        for level, encode in enumerate(self.encoders):
            x = encode(POOLS[dims](x, 2) if level > 0 else x)
            skips.append(self.blocks[level](x) if self.architecture.spectral else x)
        x = skips.pop()
        for decode in reversed(self.decoders):
            skip = skips.pop()
            x = nn.functional.interpolate(
                x, size=skip.shape[2:], mode=INTERPOLATIONS[dims], align_corners=True
            )
            x = decode(torch.cat([skip, x], dim=1))
        return x

    def _appended(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *padded"]:
        """Append points at the far end: zeros, on a periodic axis the values of the near end."""
        chosen = self.architecture
        for mode, is_periodic in (("constant", False), ("circular", True)):
            widths = [
                count if periodic == is_periodic else 0
                for count, periodic in zip(chosen.appended, chosen.periodic, strict=True)
            ]
            if any(widths):
                x = nn.functional.pad(x, _at_far_ends(widths), mode=mode)
        return x


class DoubleConvolution(nn.Module):
    """(convolution, normalisation, relu) twice."""

    def __init__(
        self,
        chosen: Architecture,
        channels_in: int,
        channels_between: int,
        channels_out: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        counts = [channels_in, channels_between, channels_out]
        self.convolutions = nn.ModuleList(
            PaddedConvolution(before, after, chosen.padding, generator=generator)
            for before, after in pairwise(counts)
        )
        self.norms = nn.ModuleList(_norm(chosen, count) for count in counts[1:])

    def forward(self, x: Float[Tensor, "batch channel_in *space"]) -> Float[Tensor, "batch channel *space"]:
        """Return the features on the same grid."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = nn.functional.relu(norm(convolution(x)))
        return x


def _norm(chosen: Architecture, channels: int) -> nn.Module:
    if chosen.norm == "instance":
        return nn.GroupNorm(channels, channels)
    return BATCH_NORMS[len(chosen.patch)](channels)


def _at_far_ends(widths: Sequence[int]) -> list[int]:
    return [side for width in reversed(widths) for side in (0, width)]
