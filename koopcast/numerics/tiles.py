"""Blocks of neighbouring grid points, and the sites near them: for grids with too many pairs of both."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from koopcast.numerics.geometry import Domain, coordinates, distances, period


def tiles(shape: tuple[int, ...], size: int) -> Iterator[Int[Tensor, " point"]]:
    """Yield the grid points, by flat index, in blocks of at most `size` along each axis."""
    numbers = torch.arange(math.prod(shape)).reshape(shape)
    starts = (range(0, count, size) for count in shape)
    for corner in itertools.product(*starts):
        yield numbers[tuple(slice(start, start + size) for start in corner)].flatten()


class Sites:
    """Grid points that are found by their distance, as `distances` defines it.

    Args:
        domain: The grid.
        points: Flat indices of the sites.
    """

    def __init__(self, domain: Domain, points: Int[Tensor, " site"]) -> None:
        self._domain = domain
        self._is_spherical = domain.is_spherical and len(domain.axes) == 2
        turns = [0.0 if self._is_spherical else period(axis) or 0.0 for axis in domain.axes]
        self._turns = np.array(turns)
        box = None if self._is_spherical else self._turns
        self._tree = cKDTree(self._placed(points), boxsize=box)

    def near(self, points: Int[Tensor, " point"], distance: float) -> Int[Tensor, " near"]:
        """Return the numbers of sites, sorted, among which are all within a distance of any of the points."""
        middle = points[len(points) // 2 : len(points) // 2 + 1]
        radius = (distance + float(distances(self._domain, middle, points).max())) * (1 + 1e-9)
        if self._is_spherical:
            radius = 2 * math.sin(math.radians(min(radius, 180.0)) / 2) + 1e-12
        found = self._tree.query_ball_point(self._placed(middle)[0], radius, return_sorted=True)
        return torch.tensor(found, dtype=torch.int64)

    def _placed(self, points: Int[Tensor, " point"]) -> Float[np.ndarray, "point dimension"]:
        """Return coordinates between which straight distances rank as those on the domain do."""
        places = coordinates(self._domain, points.cpu()).numpy()
        if not self._is_spherical:
            turns = np.where(self._turns > 0, self._turns, np.inf)
            return np.where(self._turns > 0, np.mod(places, turns), places)
        names = [axis.geometry for axis in self._domain.axes]
        north, east = (np.deg2rad(places[:, names.index(name)]) for name in ("latitude", "longitude"))
        columns = (np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north))
        return np.stack(columns, axis=1)
