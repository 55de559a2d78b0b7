"""Multilinear interpolation on the grid of a domain, at any coordinates."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from koopcast.grids import Axis
from koopcast.numerics.geometry import Domain, period

TOLERANCE = 1e-9
"""Share of the widest interval by which a place may lie outside: rounding."""
SEAM = 1.5
"""A circle is closed where the gap between its last and first point is at most so many widest intervals."""


class Stencil(NamedTuple):
    """The grid points around places, and their weights, which add up to 1."""

    points: Int[Tensor, "*shape corner"]
    """Flat indices over space; 2 corners an axis."""
    weights: Float[Tensor, "*shape corner"]
    inside: Bool[Tensor, "*shape"]
    """Whether the place is on the grid; the weights of others mean nothing."""

    @property
    def nearest(self) -> Int[Tensor, "*shape"]:
        """The corner of the largest weight."""
        chosen: Tensor = self.points.gather(-1, self.weights.argmax(dim=-1, keepdim=True))[..., 0]
        return chosen


def stencil(domain: Domain, places: Float[Tensor, "*shape axis"]) -> Stencil:
    """Return the cells of the grid in which places lie, exact for functions linear in each coordinate.

    A periodic axis closes between its last and first point; longitudes may be given in any turn.
    """
    points = torch.zeros(*places.shape[:-1], 1, dtype=torch.int64)
    weights = torch.ones(*places.shape[:-1], 1, dtype=torch.float64)
    inside = torch.ones(places.shape[:-1], dtype=torch.bool)
    for place, (axis, held) in enumerate(zip(domain.axes, domain.coordinates, strict=True)):
        corner, weight, is_on = _along(axis, held, places[..., place])
        points = (points[..., :, None] * axis.size + corner[..., None, :]).flatten(-2)
        weights = (weights[..., :, None] * weight[..., None, :]).flatten(-2)
        inside &= is_on
    return Stencil(points, weights, inside)


def closed_length(axis: Axis, held: Float[Tensor, " size"]) -> float | None:
    """Return the length of an axis that closes between its last and its first point, else None."""
    length = period(axis)
    if length is None or axis.size < 2:
        return None
    ordered = held.sort().values
    gap = ordered[0] + length - ordered[-1]
    return length if bool(gap <= SEAM * ordered.diff().max()) else None


def _along(
    axis: Axis, held: Float[Tensor, " size"], x: Float[Tensor, "*shape"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two neighbours along an axis, their weights, and whether x lies between them."""
    ordered, order = held.sort()
    slack = TOLERANCE * (float(ordered.diff().max()) if axis.size > 1 else 1.0)
    length = closed_length(axis, held)
    if (turn := period(axis)) is not None:
        # Of an axis that does not close, what is west of it is not taken for far east of it.
        first = (ordered[0] + ordered[-1] - turn) / 2 if length is None else ordered[0] - slack
        x = first + (x - first).remainder(turn)
    if length is not None:
        ordered = torch.cat((ordered, ordered[:1] + length))
        order = torch.cat((order, order[:1]))
    inside = (x >= ordered[0] - slack) & (x <= ordered[-1] + slack)
    if len(ordered) == 1:
        return torch.stack((order[0], order[0])).expand(*x.shape, 2), _pair(torch.zeros_like(x)), inside
    left = (torch.searchsorted(ordered, x.contiguous(), right=True) - 1).clamp(0, len(ordered) - 2)
    share = ((x - ordered[left]) / (ordered[left + 1] - ordered[left])).clamp(0, 1)
    return torch.stack((order[left], order[left + 1]), dim=-1), _pair(share), inside


def _pair(share: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 2"]:
    return torch.stack((1 - share, share), dim=-1)
