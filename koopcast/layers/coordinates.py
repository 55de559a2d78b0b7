"""Places on the grid, or waves of them, appended to a field's channels."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.layers.positions import grid_positions


def with_positions(
    x: Float[Tensor, "batch *space channel"], periodic: Sequence[bool]
) -> Float[Tensor, "batch *space more"]:
    """Append x from 0 to 1 of each closed axis, then sin 2πx and cos 2πx of each periodic one: places without
    a jump.
    """
    shape = x.shape[1:-1]
    grid = grid_positions(shape, periodic, dtype=torch.float64, device=torch.device("cpu"))
    around = torch.tensor(list(periodic))
    turns = 2 * math.pi * grid[..., around]
    return _joined(x, torch.cat([grid[..., ~around], turns.sin(), turns.cos()], dim=-1).to(x))


def num_positions(periodic: Sequence[bool]) -> int:
    """Return the channels that `with_positions` appends."""
    return len(periodic) + sum(periodic)


def with_waves(
    x: Float[Tensor, "batch *space channel"], periodic: Sequence[bool], highest: int
) -> Float[Tensor, "batch *space more"]:
    """Append sin θ and cos θ of each axis for the waves m = 1 .. highest, θ as in `angles`."""
    theta = angles(x.shape[1:-1], periodic, range(1, highest + 1))
    return _joined(x, torch.cat([theta.sin(), theta.cos()], dim=-1).to(x))


def angles(
    shape: Sequence[int], periodic: Sequence[bool], waves: Sequence[int]
) -> Float[Tensor, "*space feature"]:
    """Return θ = 2π m x on periodic axes and π m x on closed ones, axis by axis, for the waves m."""
    grid = grid_positions(shape, periodic, dtype=torch.float64, device=torch.device("cpu"))
    return angles_at(grid, periodic, waves)


def angles_at(
    places: Float[Tensor, "*place axis"], periodic: Sequence[bool], waves: Sequence[int]
) -> Float[Tensor, "*place feature"]:
    """Return the same at any places, whose coordinates go from 0 to 1 along each axis."""
    turns = [2 * math.pi if is_periodic else math.pi for is_periodic in periodic]
    rates = torch.tensor(turns, dtype=places.dtype, device=places.device)
    m = torch.tensor(list(waves), dtype=places.dtype, device=places.device)
    return ((places * rates)[..., None] * m).flatten(-2)


def _joined(
    x: Float[Tensor, "batch *space channel"], features: Float[Tensor, "*space feature"]
) -> Float[Tensor, "batch *space more"]:
    return torch.cat([x, features.expand(x.shape[0], *features.shape)], dim=-1)
