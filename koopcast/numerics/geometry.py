"""Positions of grid points and the distances between them, in the units of the axes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.errors import OutsideDomain
from koopcast.fields import FieldData
from koopcast.grids import Axis

SPHERE = frozenset({"latitude", "longitude"})


@dataclass(frozen=True)
class Domain:
    """The space axes of fields with their coordinates (float64), one tensor an axis."""

    axes: tuple[Axis, ...]
    coordinates: tuple[Float[Tensor, "_"], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(axis.size for axis in self.axes)

    @property
    def is_spherical(self) -> bool:
        """Whether distances are arcs of great circles, in degrees: both latitude and longitude are there."""
        return {axis.geometry for axis in self.axes} >= SPHERE


def domain_of(fields: FieldData) -> Domain:
    """Return the domain of a dataset: coordinates it holds, else those that axis lengths imply."""
    held = fields.dataset.coords
    return Domain(
        fields.info.axes,
        tuple(
            torch.from_numpy(np.array(held[axis.name].values, dtype=np.float64))
            if axis.name in held
            else implied_coordinates(axis)
            for axis in fields.info.axes
        ),
    )


def implied_coordinates(axis: Axis) -> Float[Tensor, " size"]:
    """Return i Δ with Δ = length / size on a periodic axis, length / (size - 1) on another, 1 without a
    length.
    """
    intervals = axis.size if axis.periodic else max(1, axis.size - 1)
    spacing = 1.0 if axis.length is None else axis.length / intervals
    return torch.arange(axis.size, dtype=torch.float64) * spacing


def cell_centres(axis: Axis, start: float = 0.0) -> Float[Tensor, " size"]:
    """Return start + (i + 1/2) Δ with Δ = length / size, 1 without a length."""
    spacing = 1.0 if axis.length is None else axis.length / axis.size
    return start + (torch.arange(axis.size, dtype=torch.float64) + 0.5) * spacing


def period(axis: Axis) -> float | None:
    """Return the length after which coordinates repeat; None where they do not."""
    if axis.geometry == "longitude":
        return 360.0
    if not axis.periodic:
        return None
    return float(axis.size) if axis.length is None else axis.length


def distances(
    domain: Domain, points: Int[Tensor, " point"], others: Int[Tensor, " other"]
) -> Float[Tensor, "point other"]:
    """Return distances between grid points, given by their flat index over space.

    Euclidean across axes, along a periodic axis the shorter way round; on the sphere the arc in degrees.
    """
    here, there = _coordinates(domain, points), _coordinates(domain, others)
    if domain.is_spherical and len(domain.axes) == 2:
        names = [axis.geometry for axis in domain.axes]
        latitude, longitude = names.index("latitude"), names.index("longitude")
        return _arc(here[latitude], here[longitude], there[latitude], there[longitude])
    total = torch.zeros(points.shape[0], others.shape[0], dtype=torch.float64, device=points.device)
    for axis, first, second in zip(domain.axes, here, there, strict=True):
        gap = (first[:, None] - second).abs()
        if (length := period(axis)) is not None:
            gap = gap % length
            gap = torch.minimum(gap, length - gap)
        total += gap.square()
    return total.sqrt()


def _coordinates(domain: Domain, points: Int[Tensor, " point"]) -> tuple[Tensor, ...]:
    indices = torch.unravel_index(points, domain.shape)
    return tuple(
        values.to(points.device)[index] for values, index in zip(domain.coordinates, indices, strict=True)
    )


def coordinates(domain: Domain, points: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape axis"]:
    """Return the coordinates of grid points, given by their flat index over space."""
    return torch.stack(_coordinates(domain, points), dim=-1)


def _arc(latitude: Tensor, longitude: Tensor, others_latitude: Tensor, others_longitude: Tensor) -> Tensor:
    """Great-circle distance in degrees by the haversine formula, accurate for near points."""
    first, second = torch.deg2rad(latitude)[:, None], torch.deg2rad(others_latitude)
    turn = torch.deg2rad(longitude[:, None] - others_longitude)
    h = torch.sin((first - second) / 2) ** 2 + first.cos() * second.cos() * torch.sin(turn / 2) ** 2
    return torch.rad2deg(2 * torch.asin(h.clamp(0, 1).sqrt()))


def nearest_point(domain: Domain, place: Mapping[str, float] | Sequence[float]) -> int:
    """Return the flat index of the grid point nearest to a place, axis by axis.

    Raises:
        OutsideDomain: An axis is not named, or the place is more than half a grid interval outside.
    """
    names = [axis.name for axis in domain.axes]
    values = dict(place) if isinstance(place, Mapping) else dict(zip(names, place, strict=False))
    if set(values) != set(names) or (not isinstance(place, Mapping) and len(place) != len(names)):
        raise OutsideDomain(
            f"the place {place} does not give one coordinate for each axis ({', '.join(names)})",
            "name every axis once",
        )
    index = [
        _nearest(axis, held, values[axis.name])
        for axis, held in zip(domain.axes, domain.coordinates, strict=True)
    ]
    return int(np.ravel_multi_index(index, domain.shape))


def _nearest(axis: Axis, held: Float[Tensor, " size"], value: float) -> int:
    gaps = (held - value).abs()
    if (length := period(axis)) is not None:
        gaps = gaps % length
        gaps = torch.minimum(gaps, length - gaps)
    index = int(gaps.argmin())
    ordered = held.sort().values
    widest = float(ordered.diff().max()) if axis.size > 1 else math.inf
    if not math.isfinite(value) or float(gaps[index]) > widest / 2 * (1 + 1e-9):
        low, high = float(ordered[0]), float(ordered[-1])
        raise OutsideDomain(
            f"{axis.name} = {value:g} lies outside the grid ({low:g} to {high:g})",
            "move the point or enlarge the domain",
        )
    return index
