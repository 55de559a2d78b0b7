"""A network that acts on patches of the domain, one after the other, and joins what it returns."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.coordinates import with_positions
from koopcast.layers.multigrid_patches import MultigridPatches


class PatchedNetwork(nn.Module):
    """u = join(network(patch, coarser views of its surroundings[, its place in the whole domain])).

    The place is told by sin 2πx and cos 2πx: x itself would jump within the patches that reach across the
    seam of the domain. The largest tensor inside has the points of one patch.

    Args:
        network: Maps the channels of a patch to those of the result.
        patches: How the domain is cut.
        has_positions: Whether the network is told the place.
    """

    def __init__(self, network: nn.Module, patches: MultigridPatches, *, has_positions: bool) -> None:
        super().__init__()
        self.network = network
        self.patches = patches
        self.has_positions = has_positions

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields on the grid of `x`."""
        shape = x.shape[1:-1]
        parts = self.patches.split(x)
        if self.has_positions:
            waves = with_positions(x[:1, ..., :0], [True] * len(shape))
            places = self.patches.split(waves, levels=0)
            parts = torch.cat([parts, places.expand(-1, x.shape[0], *places.shape[2:])], dim=-1)
        return self.patches.join(torch.stack([self.network(part) for part in parts]), shape)
