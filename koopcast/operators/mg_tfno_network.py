"""A network that acts on patches of the domain, one after the other, and joins what it returns."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.multigrid_patches import MultigridPatches
from koopcast.layers.positions import grid_positions


class PatchedNetwork(nn.Module):
    """u = join(network(patch, coarser views of its surroundings[, its coordinates in the whole domain])).

    The largest tensor inside has the points of one patch.

    Args:
        network: Maps the channels of a patch to those of the result.
        patches: How the domain is cut.
        has_positions: Whether the network is given coordinates.
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
            periodic = [True] * len(shape)
            grid = grid_positions(shape, periodic, dtype=x.dtype, device=x.device)
            places = self.patches.split(grid[None], levels=0)
            parts = torch.cat([parts, places.expand(-1, len(x), *places.shape[2:])], dim=-1)
        return self.patches.join(torch.stack([self.network(part) for part in parts]), shape)
