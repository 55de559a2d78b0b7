"""Instruments that move: ships, satellites, floats with an engine."""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo
from koopcast.numerics.geometry import Domain, domain_of, period
from koopcast.numerics.interpolation import closed_length, stencil
from koopcast.observations.base import LocationsSpec
from koopcast.spec import Problem


class TrackSpec(LocationsSpec):
    """Platforms that move on at one speed: round a closed axis, and back from the ends of another.

    On the sphere they follow great circles. Over masked points they report nothing.
    """

    kind: Literal["track"] = "track"
    count: PositiveInt = 1
    """Number of platforms."""
    speed: PositiveFloat = 1.0
    """Way from one record to the next, in the units of the axes; degrees of arc on the sphere."""
    heading: float | None = Field(None, ge=0, lt=360)
    """Degrees, 0 along the first axis (north), 90 along the last (east); along a single axis 0 is forward,
    180 back. Default: drawn for each platform."""
    start: list[list[float]] = []
    """Coordinates of each platform at the first record; default: drawn uniformly."""

    reference = "moving platforms of observing system simulation experiments"

    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return the grid points that platforms are nearest to."""
        return stencil(domain_of(truth), self.places(truth, record, batch, generator)).nearest

    def places(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Float[Tensor, "batch time site axis"]:
        """Return where platforms are."""
        domain = domain_of(truth)
        drawn = torch.rand(batch, self.count, len(domain.axes), generator=generator, dtype=torch.float64)
        turn = torch.rand(batch, self.count, generator=generator, dtype=torch.float64)
        start = torch.stack(
            [_within(axis, held, drawn[..., i]) for i, (axis, held) in enumerate(_axes(domain))], dim=-1
        )
        if self.start:
            start = torch.tensor(self.start, dtype=torch.float64).expand(batch, -1, -1)
        degrees = 360 * turn if self.heading is None else torch.full_like(turn, self.heading)
        if len(domain.axes) == 1 and self.heading is None:
            degrees = 180 * (turn < 0.5).double()
        way = self.speed * record.double()[None, :, None]
        move = _great_circle if domain.is_spherical else _straight
        moved = move(domain, start[:, None], torch.deg2rad(degrees)[:, None], way)
        return torch.stack(
            [_kept(axis, held, moved[..., i]) for i, (axis, held) in enumerate(_axes(domain))], dim=-1
        )

    def num_sites(self, fields: FieldsInfo) -> int:
        """Return `count`."""
        return self.count

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse grids on which a heading means nothing, and starts that do not fit."""
        if len(fields.axes) > 2 or any(axis.name == "point" for axis in fields.axes):
            yield Problem((), "a track needs one or two axes; use `random` with `redraw: true`")
        if self.start and len(self.start) != self.count:
            yield Problem(("start",), f"{len(self.start)} starts for {self.count} platforms; give one each")
        for position, place in enumerate(self.start):
            if len(place) != len(fields.axes):
                names = ", ".join(axis.name for axis in fields.axes)
                yield Problem(("start", position), f"{place} must give one number for each of {names}")


def _axes(domain: Domain) -> Iterator[tuple[Axis, Tensor]]:
    return zip(domain.axes, domain.coordinates, strict=True)


def _within(axis: Axis, held: Tensor, share: Tensor) -> Tensor:
    """Return coordinates at a share of the extent of an axis."""
    length = closed_length(axis, held)
    low, high = held.min(), held.max()
    return low + share * (high - low if length is None else length)


def _kept(axis: Axis, held: Tensor, x: Tensor) -> Tensor:
    """Return coordinates on the grid: round a closed axis, else back from its ends."""
    low, high = held.min(), held.max()
    if (length := closed_length(axis, held)) is not None:
        return low + (x - low).remainder(length)
    if high == low:
        return torch.full_like(x, float(low))
    if (turn := period(axis)) is not None:
        middle = (low + high) / 2
        x = middle + (x - middle + turn / 2).remainder(turn) - turn / 2
    way = (x - low).remainder(2 * (high - low))
    return low + torch.minimum(way, 2 * (high - low) - way)


def _straight(domain: Domain, start: Tensor, heading: Tensor, way: Tensor) -> Tensor:
    course = torch.stack((heading.cos(), heading.sin()), dim=-1)[..., : len(domain.axes)]
    return start + way[..., None] * course


def _great_circle(domain: Domain, start: Tensor, heading: Tensor, way: Tensor) -> Tensor:
    """Return the points at some arc from a start along its initial bearing."""
    names = [axis.geometry for axis in domain.axes]
    first, second = names.index("latitude"), names.index("longitude")
    latitude, longitude = torch.deg2rad(start[..., first]), torch.deg2rad(start[..., second])
    arc = torch.deg2rad(way)
    height = latitude.sin() * arc.cos() + latitude.cos() * arc.sin() * heading.cos()
    east = heading.sin() * arc.sin() * latitude.cos()
    north = arc.cos() - latitude.sin() * height
    reached = torch.stack(
        (height.clamp(-1, 1).asin(), (longitude + torch.atan2(east, north)).expand(height.shape)), dim=-1
    )
    ordered = [0, 1] if first == 0 else [1, 0]
    return torch.rad2deg(reached[..., ordered])
