"""Observing systems: what they report of fields, through which operator, and how a choice of sites works.

Words: a *site* is a place, an *obs* one number reported there; a *type* is a kind of instrument with its own
error, reach and quality control.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.numerics.geometry import coordinates, domain_of
from koopcast.observations.quality import Flag, QualityControl, is_used
from koopcast.spec import MethodSpec, Problem


class Operator(ABC):
    """What the observations of each time see of a frame; differentiable, and batched over members."""

    @abstractmethod
    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return what is seen at observation time number `time`."""

    @abstractmethod
    def at(self, times: Int[Tensor, " time"]) -> "Operator":
        """Return the operator of the observation times with these numbers, in this order."""


@dataclass(frozen=True)
class ObservationType:
    """A kind of instrument: a block of neighbouring columns of an `ObservationSet`."""

    name: str = "observations"
    count: int = 0
    """Columns."""
    reach: float = 1.0
    """Factor on the radius of localisation."""
    qc: QualityControl = field(default_factory=QualityControl)
    early: float = 0.0
    """Share of a record step by which its observations precede the record that they are listed at."""
    is_located: bool = True
    """Whether its observations stand at a place."""
    is_of_cells: bool = True
    """Whether an observation is the value of a cell itself."""


@dataclass(frozen=True)
class ObservationSet:
    """Observations of a window of fields at its observation times, batched over independent experiments.

    A frame `(*space, channel)` is flattened to `cell` (channel fastest). `index` says at which cell each
    observation stands; a NaN in `value` is a missing observation. Sites that do not change are one row seen
    many times (`Tensor.expand`), so they cost nothing.
    """

    record: Int[Tensor, " time"]
    """Record of the window (0 = its first) at which each observation time falls, increasing."""
    index: Int[Tensor, "batch time obs"]
    value: Float[Tensor, "batch time obs"]
    variance: Float[Tensor, "batch time obs"]
    operator: Operator | None = None
    """What is seen of a frame; None: the cells of `index` themselves."""
    checked: Int[Tensor, "batch time obs"] | None = None
    """Flags given before any cycle; None: what is not NaN is used."""
    types: tuple[ObservationType, ...] = ()
    """Types of the columns, one block after the other; empty: all are one."""
    offset: Int[Tensor, " obs"] | None = None
    """Records from the analysis to the observation, column by column; None: all are at the analysis."""

    def seen(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return what observation time number `time` sees of each member."""
        if self.operator is not None:
            return self.operator.of(cells, time)
        return cells.gather(2, self.index[:, time, None].expand(-1, cells.shape[1], -1))

    @property
    def num_times(self) -> int:
        """Number of observation times."""
        return self.record.shape[0]

    @property
    def flag(self) -> Int[Tensor, "batch time obs"]:
        """What is known of each observation before any cycle."""
        missing = torch.isnan(self.value)
        if self.checked is None:
            return missing.to(torch.int8) * int(Flag.MISSING)
        return self.checked.masked_fill(missing & (self.checked == Flag.USED), int(Flag.MISSING))

    @property
    def is_empty(self) -> Tensor:
        """Whether a time has no observation to use in any experiment: `(time,)`."""
        return ~is_used(self.flag).any(dim=2).any(dim=0)

    @property
    def is_fixed(self) -> bool:
        """Whether every experiment and time has the same sites."""
        return bool((self.index == self.index[:1, :1]).all())

    def sections(self) -> Iterator[tuple[ObservationType, slice]]:
        """Yield each type with its columns."""
        start = 0
        for kind in self.types or (ObservationType(count=self.value.shape[2]),):
            yield kind, slice(start, start + kind.count)
            start += kind.count

    def reach(self) -> Float[Tensor, " obs"] | None:
        """Return the factor on the radius of localisation, column by column; None where all are 1."""
        if all(kind.reach == 1 for kind in self.types):
            return None
        return torch.cat([torch.full((kind.count,), kind.reach, dtype=torch.float64) for kind in self.types])

    def at_every_record(self, num_records: int) -> "ObservationSet":
        """Return the observations with a time at each record, from 1 or the first observation time on.

        Times that are added have no value; they keep sites and variances of the observation time before.
        """
        return self.aligned(torch.arange(min(1, int(self.record[0])), num_records))

    def aligned(self, record: Int[Tensor, " time"]) -> "ObservationSet":
        """Return the observations with a time at each of these records, those of the set among them."""
        source = (torch.searchsorted(self.record, record, right=True) - 1).clamp_min(0)
        is_old = (self.record[source] == record)[:, None]
        whole = self.at(source)
        return replace(
            whole,
            record=record,
            value=torch.where(is_old, whole.value, torch.nan),
            checked=torch.where(is_old, whole.flag, int(Flag.ABSENT)),
        )

    def first(self, num_times: int) -> "ObservationSet":
        """Return the first observation times alone."""
        return self.at(torch.arange(min(num_times, self.num_times)))

    def at(self, times: Int[Tensor, " time"]) -> "ObservationSet":
        """Return the observation times with these numbers, in this order."""
        return replace(
            self,
            record=self.record[times],
            index=at_times(self.index, times),
            value=self.value[:, times],
            variance=self.variance[:, times],
            operator=None if self.operator is None else self.operator.at(times),
            checked=None if self.checked is None else self.checked[:, times],
        )


class ObservationsSpec(MethodSpec):
    """Options of an observing system."""

    @abstractmethod
    def observe(self, truth: FieldData, repeats: int, generator: torch.Generator) -> ObservationSet:
        """Return the observations of the window of `truth`.

        The batch is `sample * repeat`, repeats fastest: each repeat draws its own noise and, where random,
        its own sites.
        """

    @abstractmethod
    def num_observations(self, fields: FieldsInfo) -> int:
        """Return how many observations there are at an observation time."""

    @abstractmethod
    def num_times(self, fields: FieldsInfo) -> int:
        """Return how many observation times a window of fields has."""

    @abstractmethod
    def kinds(self) -> tuple[ObservationType, ...]:
        """Return the types of the observations; their columns are counted when they are made."""

    def drawn(self) -> dict[str, Any]:
        """Return the options that decide what is drawn: observations that agree in them are the same ones."""
        return {"kind": self.kind, **self.model_dump(mode="json", exclude_defaults=True)}

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield nothing."""
        yield from ()


class InstrumentSpec(ObservationsSpec):
    """Options of observations of one type."""

    reach: PositiveFloat = 1.0
    """Factor on the radius of localisation of the method, for these observations."""
    qc: QualityControl = Field(default=QualityControl(), validate_default=True)
    """Which observations are not used."""

    def drawn(self) -> dict[str, Any]:
        """Return all options but those of how the observations are used."""
        return {name: value for name, value in super().drawn().items() if name not in ("qc", "reach")}

    def finished(
        self, observations: ObservationSet, kind: ObservationType, truth: FieldData, per_site: int
    ) -> ObservationSet:
        """Return observations with the flags and errors of quality control before the cycles."""
        flag = self.qc.before(
            observations.value, observations.index, domain_of(truth), truth.info.num_channels, per_site
        )
        kind = replace(kind, count=observations.value.shape[2])
        return replace(
            observations,
            variance=observations.variance * self.qc.error_inflation**2,
            checked=flag.to(observations.value.device),
            types=(kind,),
        )


class LocationsSpec(MethodSpec):
    """Options of a choice of sites. A site is a grid point, by its flat index over space."""

    @abstractmethod
    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return the sites of each experiment and observation time; sites that stay never are masked points.

        Args:
            truth: Its window is what is observed. A choice may look at its part `train`, never at the window.
            record: Records that are observed, of the window.
            batch: Experiments.
            generator: Of whatever is drawn.

        Raises:
            OutsideDomain: A site that was named is not on the grid or holds no data.
            EmptySelection: There are fewer valid points than sites.
        """

    def places(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Float[Tensor, "batch time site axis"]:
        """Return the coordinates of the sites at the records observed; those of grid points."""
        return coordinates(domain_of(truth), self.draw(truth, record, batch, generator))

    @abstractmethod
    def num_sites(self, fields: FieldsInfo) -> int:
        """Return how many sites there are (an upper bound where a mask may take some away)."""


@dataclass(frozen=True)
class Scene:
    """What an operator is placed in."""

    truth: FieldData
    locations: LocationsSpec
    channels: tuple[int, ...]
    """Of the variables that are observed."""
    record: Int[Tensor, " time"]
    """Records that are observed, of the window."""
    batch: int
    """Experiments."""


@dataclass(frozen=True)
class Placed:
    """An operator at its sites."""

    index: Int[Tensor, "batch time obs"]
    """Nearest cell; 0 where observations have no place."""
    operator: Operator | None
    """None: the cells of `index` themselves."""
    per_site: int
    """Observations at each site, side by side."""
    present: Bool[Tensor, "#batch #time obs"] | None = None
    """Where the grid holds data for them; None: everywhere."""


class OperatorSpec(MethodSpec):
    """Options of an observation operator."""

    @property
    def is_located(self) -> bool:
        """Whether observations stand at a place."""
        return True

    @property
    def is_of_cells(self) -> bool:
        """Whether an observation is the value of a cell itself."""
        return False

    @abstractmethod
    def place(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Return the operator at the sites of a scene.

        Raises:
            OutsideDomain: A site is not on the grid.
        """

    @property
    def has_sites(self) -> bool:
        """Whether it takes the sites that `locations` choose."""
        return self.is_located

    def num_observations(self, sites: int, channels: int, num_cells: int) -> int:
        """Return how many observations there are at an observation time, at sites of a grid of so many
        points.
        """
        return sites * channels

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield nothing."""
        yield from ()


def at_times(values: Tensor, times: Int[Tensor, " time"]) -> Tensor:
    """Return `(batch, time, ...)` at some times; one row seen many times stays one."""
    if values.stride(1) == 0 and values.shape[1] > 1:
        return values[:, :1].expand(-1, len(times), *(-1,) * (values.ndim - 2))
    return values[:, times]


def merged(sets: Sequence[ObservationSet]) -> ObservationSet:
    """Return observations of several types side by side, with a time wherever one of them has one."""
    record = torch.unique(torch.cat([part.record for part in sets]))
    parts = [part.aligned(record) for part in sets]
    is_plain = all(part.operator is None for part in parts)
    return ObservationSet(
        record,
        torch.cat([part.index for part in parts], dim=2),
        torch.cat([part.value for part in parts], dim=2),
        torch.cat([part.variance for part in parts], dim=2),
        None if is_plain else SideBySide(tuple(parts)),
        torch.cat([part.flag for part in parts], dim=2),
        tuple(kind for part in parts for kind in part.types),
    )


@dataclass(frozen=True)
class SideBySide(Operator):
    """Operators of several types, one block of columns after the other."""

    parts: tuple[ObservationSet, ...]

    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return what each type sees."""
        return torch.cat([part.seen(cells, time) for part in self.parts], dim=2)

    def at(self, times: Int[Tensor, " time"]) -> "SideBySide":
        """Return each at these times."""
        return SideBySide(tuple(part.at(times) for part in self.parts))


def everywhere(sites: Int[Tensor, " site"], count: tuple[int, int]) -> Int[Tensor, "batch time site"]:
    """Return the same sites for every experiment and time."""
    return sites.expand(*count, -1)


def enough_points(truth: FieldData, wanted: int) -> Int[Tensor, " point"]:
    """Return the points that always hold data.

    Raises:
        EmptySelection: There are fewer than wanted.
    """
    points = truth.always_valid().flatten().nonzero()[:, 0]
    if points.shape[0] < wanted:
        raise EmptySelection(
            f"{wanted} sites were asked for, but only {points.shape[0]} grid points hold data",
            "lower `locations.count`",
        )
    return points
