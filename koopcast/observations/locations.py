"""Where a synthetic instrument stands: each way of choosing sites on a grid."""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import EmptySelection, OutsideDomain
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo
from koopcast.numerics.geometry import domain_of, nearest_point
from koopcast.numerics.interpolation import closed_length, stencil
from koopcast.observations.base import LocationsSpec, enough_points, everywhere
from koopcast.observations.sampled import SampledSpec
from koopcast.observations.track import TrackSpec
from koopcast.spec import Family, Problem

MOST_DRAWS = 200
"""Times that random places are drawn anew where some lie beside masked points."""


class AllSpec(LocationsSpec):
    """Every grid point."""

    kind: Literal["all"] = "all"

    reference = "the usual set-up of twin experiments"

    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return all points that hold data."""
        return everywhere(truth.always_valid().flatten().nonzero()[:, 0], (batch, len(record)))

    def num_sites(self, fields: FieldsInfo) -> int:
        """Return the number of grid points."""
        return fields.num_cells


class EverySpec(LocationsSpec):
    """Every `step`-th grid point along each axis."""

    kind: Literal["every"] = "every"
    step: PositiveInt = 2
    """Spacing in grid points; 1 observes all."""
    offset: NonNegativeInt = 0
    """First observed point along each axis."""

    reference = "the usual set-up of twin experiments"

    @model_validator(mode="after")
    def _offset_is_below_step(self) -> "EverySpec":
        if self.offset >= self.step:
            raise ValueError(f"offset: {self.offset} is not below step {self.step}")
        return self

    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return the regular sub-grid without masked points."""
        valid = truth.always_valid()
        chosen = torch.zeros_like(valid)
        chosen[tuple(slice(self.offset, None, self.step) for _ in valid.shape)] = True
        return everywhere((chosen & valid).flatten().nonzero()[:, 0], (batch, len(record)))

    def num_sites(self, fields: FieldsInfo) -> int:
        """Return the number of points of the sub-grid."""
        return int(np.prod([len(range(self.offset, size, self.step)) for size in fields.shape]))

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse an offset beyond the grid."""
        if self.num_sites(fields) == 0:
            yield Problem(("offset",), f"{self.offset} is beyond grid {fields.shape}; lower it")


class RandomSpec(LocationsSpec):
    """Points drawn without replacement, for each experiment anew."""

    kind: Literal["random"] = "random"
    count: PositiveInt = 10
    """Number of sites."""
    redraw: bool = False
    """Draw anew at every observation time (drifters); else sites stay (stations)."""

    reference = "the usual set-up of twin experiments"

    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return distinct random points of each experiment."""
        points = enough_points(truth, self.count)
        times = len(record) if self.redraw else 1
        rows = [
            points[torch.randperm(points.shape[0], generator=generator)[: self.count]]
            for _ in range(batch * times)
        ]
        return torch.stack(rows).reshape(batch, times, self.count).expand(-1, len(record), -1)

    def places(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Float[Tensor, "batch time site axis"]:
        """Return places drawn uniformly in the coordinates, none beside a masked point."""
        domain, valid = domain_of(truth), truth.always_valid().flatten()
        times = len(record) if self.redraw else 1
        low = torch.stack([held.min() for held in domain.coordinates])
        high = torch.stack(
            [_end(axis, held) for axis, held in zip(domain.axes, domain.coordinates, strict=True)]
        )
        found = torch.zeros(batch, times, self.count, len(domain.axes), dtype=torch.float64)
        missing = torch.ones(found.shape[:3], dtype=torch.bool)
        for _ in range(MOST_DRAWS):
            drawn = torch.rand(found.shape, generator=generator, dtype=torch.float64)
            found = torch.where(missing[..., None], low + drawn * (high - low), found)
            around = stencil(domain, found)
            missing = ~(around.inside & valid[around.points].all(dim=-1))
            if not bool(missing.any()):
                return found.expand(-1, len(record), -1, -1)
        raise EmptySelection(
            f"after {MOST_DRAWS} draws {int(missing.sum())} random places still lie beside masked points",
            "use `operator: index`, which takes grid points",
        )

    def num_sites(self, fields: FieldsInfo) -> int:
        """Return `count`."""
        return self.count

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse more sites than points."""
        if self.count > fields.num_cells:
            yield Problem(("count",), f"{self.count} sites on a grid of {fields.num_cells} points; lower it")


class CellsSpec(LocationsSpec):
    """Grid points named by their indices."""

    kind: Literal["cells"] = "cells"
    indices: list[NonNegativeInt | list[NonNegativeInt]] = Field([0], min_length=1)
    """Each a list with one index an axis, or one number along the only axis."""

    reference = "the usual set-up of twin experiments"

    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return the points named."""
        shape = truth.info.shape
        for index in self._tuples():
            if len(index) != len(shape) or any(i >= size for i, size in zip(index, shape, strict=False)):
                raise OutsideDomain(f"cell {index} is not on the grid {shape}", "correct `locations.indices`")
        sites = torch.tensor([int(np.ravel_multi_index(index, shape)) for index in self._tuples()])
        _refuse_masked(sites, truth.always_valid(), [str(index) for index in self._tuples()])
        return everywhere(sites, (batch, len(record)))

    def _tuples(self) -> list[tuple[int, ...]]:
        return [(index,) if isinstance(index, int) else tuple(index) for index in self.indices]

    def num_sites(self, fields: FieldsInfo) -> int:
        """Return the number of points named."""
        return len(self.indices)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse indices that are not on the grid."""
        for position, index in enumerate(self._tuples()):
            if len(index) != len(fields.shape):
                yield Problem(
                    ("indices", position),
                    f"{index} has {len(index)} numbers; the grid has {len(fields.shape)} axes",
                )
            elif any(i >= size for i, size in zip(index, fields.shape, strict=True)):
                yield Problem(
                    ("indices", position), f"{index} is beyond grid {fields.shape}; indices start at 0"
                )


class PointsSpec(LocationsSpec):
    """Places named by their coordinates; each is observed at the nearest grid point."""

    kind: Literal["points"] = "points"
    coordinates: list[dict[str, float] | list[float]] = Field(min_length=1)
    """Each `{axis: value}`, or values in the order of the axes."""

    reference = "the usual set-up of twin experiments"

    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return the nearest grid points."""
        domain = domain_of(truth)
        sites = torch.tensor([nearest_point(domain, place) for place in self.coordinates])
        _refuse_masked(sites, truth.always_valid(), [str(place) for place in self.coordinates])
        return everywhere(sites, (batch, len(record)))

    def places(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Float[Tensor, "batch time site axis"]:
        """Return the places as they are given, where the nearest grid points hold data."""
        self.draw(truth, record, batch, generator)
        names = [axis.name for axis in truth.info.axes]
        rows = [
            [place[name] for name in names] if isinstance(place, dict) else place
            for place in self.coordinates
        ]
        return torch.tensor(rows, dtype=torch.float64).expand(batch, len(record), -1, -1)

    def num_sites(self, fields: FieldsInfo) -> int:
        """Return the number of places."""
        return len(self.coordinates)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse places that do not name every axis."""
        names = [axis.name for axis in fields.axes]
        for position, place in enumerate(self.coordinates):
            fits = set(place) == set(names) if isinstance(place, dict) else len(place) == len(names)
            if not fits:
                yield Problem(
                    ("coordinates", position), f"{place} must give one number for each of {', '.join(names)}"
                )


def _end(axis: Axis, held: Float[Tensor, " size"]) -> Tensor:
    """Return where an axis ends: a closed one where it begins again."""
    length = closed_length(axis, held)
    return held.max() if length is None else held.min() + length


def _refuse_masked(sites: Tensor, valid: Bool[Tensor, "*space"], names: list[str]) -> None:
    holds_data = valid.flatten()[sites]
    if not bool(holds_data.all()):
        where = names[int((~holds_data).nonzero()[0, 0])]
        raise OutsideDomain(
            f"the site {where} falls on a masked grid point", "move it to a point that holds data"
        )


AnyLocations: TypeAlias = Annotated[
    AllSpec | CellsSpec | EverySpec | PointsSpec | RandomSpec | SampledSpec | TrackSpec, Family("locations")
]
