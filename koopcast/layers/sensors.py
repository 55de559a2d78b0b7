"""Values of a field at fixed places, and coordinates of the places where another one is asked for."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from koopcast.errors import ShapeMismatch
from koopcast.layers.positions import grid_positions

CoordinateFeatures = Literal["none", "fourier"]


def sensor_places(size: int, count: int, is_periodic: bool) -> Int[Tensor, " sensor"]:
    """Return the grid points nearest to `count` equally spaced places of an axis; those of a closed one
    include both ends.
    """
    intervals = count if is_periodic else max(1, count - 1)
    length = size if is_periodic else size - 1
    # Half a point is rounded up, on every axis alike.
    return (torch.arange(count) * 2 * length + intervals) // (2 * intervals)


class Sensors(nn.Module):
    """Takes a field at equally spaced points of the grid that it knows.

    Args:
        shape: Points of each axis.
        periodic: Which axes close on themselves.
        counts: Sensors along each axis.
    """

    def __init__(self, shape: Sequence[int], periodic: Sequence[bool], counts: Sequence[int]) -> None:
        super().__init__()
        self.shape, self.counts = tuple(shape), tuple(counts)
        places = [sensor_places(*of_axis) for of_axis in zip(shape, counts, periodic, strict=True)]
        flat = torch.arange(math.prod(shape)).reshape(*shape)
        for dim, chosen in enumerate(places):
            flat = flat.index_select(dim, chosen)
        self.register_buffer("_places", flat.flatten(), persistent=False)
        self._sees_all = self.shape == self.counts

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *sensor channel"]:
        """Return the values at the sensors.

        Raises:
            ShapeMismatch: The field lies on another grid.
        """
        if tuple(x.shape[1:-1]) != self.shape:
            raise ShapeMismatch(
                f"the sensors lie on a grid of {_size(self.shape)}, the field on one of "
                f"{_size(x.shape[1:-1])}",
                "resample the field to the grid of the sensors",
            )
        if self._sees_all:
            return x
        places: Tensor = self.get_buffer("_places")
        values: Tensor = x.flatten(1, -2).index_select(1, places).unflatten(1, self.counts)
        return values


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) + " points"


class Coordinates(nn.Module):
    """Features of coordinates y in [0, 1]: 2y - 1, or with Fourier features its waves as well; y itself where
    there are to be none.

    `fourier` adds cos 2πky and sin 2πky for k = 1..frequencies of each coordinate; on a periodic axis they
    stand in place of 2y - 1, which would jump where the axis closes.

    Args:
        periodic: Which coordinates close on themselves.
        features: What to return of each coordinate.
        frequencies: Waves of each coordinate.
    """

    def __init__(
        self, periodic: Sequence[bool], features: CoordinateFeatures | None, frequencies: int = 4
    ) -> None:
        super().__init__()
        self.periodic, self.features, self.frequencies = tuple(periodic), features, frequencies

    @property
    def size(self) -> int:
        """Number of features."""
        if self.features != "fourier":
            return len(self.periodic)
        return sum(2 * self.frequencies + (not is_periodic) for is_periodic in self.periodic)

    def forward(self, y: Float[Tensor, "*batch axis"]) -> Float[Tensor, "*batch feature"]:
        """Return the features of points."""
        if self.features is None:
            return y
        if self.features == "none":
            return 2 * y - 1
        k = torch.arange(1, self.frequencies + 1, dtype=y.dtype, device=y.device)
        phases = (2 * math.pi) * y[..., None] * k
        waves = torch.cat((phases.cos(), phases.sin()), dim=-1).flatten(-2)
        closed = [axis for axis, is_periodic in enumerate(self.periodic) if not is_periodic]
        return torch.cat((2 * y[..., closed] - 1, waves), dim=-1)


class Queries(nn.Module):
    """Coordinates of every point of a grid at every time that is asked for, and their features.

    With more than one frame, the time after the given frames is the first coordinate: 1 at the last frame.
    """

    def __init__(
        self,
        periodic: Sequence[bool],
        frames: int,
        features: CoordinateFeatures | None,
        frequencies: int = 4,
    ) -> None:
        super().__init__()
        self.periodic, self.frames = tuple(periodic), frames
        has_time = [False] * (frames > 1)
        self.coordinates = Coordinates([*has_time, *periodic], features, frequencies)

    @property
    def size(self) -> int:
        """Number of features of a query."""
        return self.coordinates.size

    def points(self, shape: Sequence[int], like: Tensor) -> Float[Tensor, "point axis"]:
        """Return the points of a grid over the whole domain, the last axis fastest."""
        return grid_positions(shape, self.periodic, dtype=like.dtype, device=like.device).flatten(0, -2)

    def times(self, like: Tensor) -> Float[Tensor, " frame"]:
        """Return the times of the frames."""
        return torch.arange(1, self.frames + 1, dtype=like.dtype, device=like.device) / self.frames

    def forward(
        self, points: Float[Tensor, "point axis"], times: Float[Tensor, " frame"]
    ) -> Float[Tensor, "frame point feature"]:
        """Return the features of each point at each time."""
        y = points.expand(len(times), *points.shape)
        if self.frames > 1:
            y = torch.cat((times[:, None, None].expand(-1, len(points), 1), y), dim=-1)
        features: Tensor = self.coordinates(y)
        return features
