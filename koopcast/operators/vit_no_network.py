"""Transformer over patches of the domain as an operator: channels-last, on any grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.convolutions import normalisation
from koopcast.layers.coordinates import angles_at
from koopcast.layers.pointwise import ChannelMLP, Linear
from koopcast.layers.resampling import resample
from koopcast.operators.oformer_network import AttentionBlock, TransformerArchitecture


@dataclass(frozen=True)
class PatchArchitecture:
    """Sizes and choices of a transformer over patches."""

    periodic: tuple[bool, ...]
    patch: int
    """Samples of a patch along each axis."""
    counts: tuple[int, ...] | None
    """Patches of each axis; None: as many as the points of a grid fill."""
    channels: int
    """That a token gives to each sample of its patch."""
    blocks: TransformerArchitecture
    """Blocks over the tokens."""


class PatchTransformer(nn.Module):
    """u = Q(W a + D(norm(B_L(… B_1(E a + e))))) with W and Q pointwise and blocks B_l of attention.

    E reads a token from each patch: the field, resampled to `patch` points of each axis of it, times a
    matrix. Coarser than the grid, these samples are means under hats; the token is then the integral of the
    field against kernels that are linear between them. D goes back: samples of the patch, read linearly at
    the points of the grid. The position e is a map of waves of the patch's centre.
    """

    def __init__(self, chosen: PatchArchitecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.chosen = chosen
        blocks, samples = chosen.blocks, chosen.patch ** len(chosen.periodic)
        width = blocks.width
        self.embed = Linear(samples * blocks.channels_in, width, generator=generator)
        self.place = Linear(blocks.num_positions, width, bias=False, generator=generator)
        self.blocks = nn.ModuleList(AttentionBlock(blocks, generator) for _ in range(blocks.layers))
        self.norm = normalisation(blocks.norm, width, blocks.periodic)
        self.spread = Linear(width, samples * chosen.channels, generator=generator)
        self.lift = Linear(blocks.channels_in, chosen.channels, generator=generator)
        self.project = ChannelMLP(
            chosen.channels, 2 * chosen.channels, blocks.channels_out, generator=generator
        )

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        shape, patch, periodic = x.shape[1:-1], self.chosen.patch, self.chosen.periodic
        counts = self.chosen.counts or tuple(max(1, round(size / patch)) for size in shape)
        samples = resample(x, [count * patch for count in counts], periodic, "average")
        h = self.embed(cut(samples, patch)) + self._positions(counts, x)
        for block in self.blocks:
            h = block(h)
        spread = joined(self.spread(self.norm(h)), patch, len(shape))
        result: Tensor = self.project(self.lift(x) + resample(spread, shape, periodic, "bilinear"))
        return result

    def _positions(self, counts: Sequence[int], like: Tensor) -> Float[Tensor, "*token channel"]:
        """Return the map of waves of the centres (t + 1/2) / T."""
        lines = [
            (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count for count in counts
        ]
        centres = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
        theta = angles_at(centres, self.chosen.periodic, range(1, self.chosen.blocks.position_waves + 1))
        positions: Tensor = self.place(torch.cat((theta.sin(), theta.cos()), dim=-1))
        return positions


def cut(x: Float[Tensor, "batch *space channel"], patch: int) -> Float[Tensor, "batch *token feature"]:
    """Return the values of each patch of `patch` points an axis side by side."""
    axes = x.ndim - 2
    for axis in range(axes):
        x = x.unflatten(1 + 2 * axis, (-1, patch))
    tokens, within = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
    return x.permute(0, *tokens, *within, 2 * axes + 1).flatten(1 + axes)


def joined(
    tokens: Float[Tensor, "batch *token feature"], patch: int, axes: int
) -> Float[Tensor, "batch *space channel"]:
    """Return the field whose patches hold these values: what `cut` takes apart."""
    x: Tensor = tokens.unflatten(-1, (*[patch] * axes, -1))
    order = [place for axis in range(1, 1 + axes) for place in (axis, axis + axes)]
    x = x.permute(0, *order, 2 * axes + 1)
    for axis in range(1, 1 + axes):
        x = x.flatten(axis, axis + 1)
    return x
