"""Observations: what an instrument or a twin experiment reports of fields, time by time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
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
    def is_empty(self) -> Tensor:
        """Whether a time has no observation in any experiment: `(time,)`."""
        return torch.isnan(self.value).all(dim=2).all(dim=0)

    @property
    def is_fixed(self) -> bool:
        """Whether every experiment and time has the same sites."""
        return bool((self.index == self.index[:1, :1]).all())

    def at_every_record(self, num_records: int) -> "ObservationSet":
        """Return the observations with a time at each record, from 1 or the first observation time on.

        Times that are added have no value; they keep sites and variances of the observation time before.
        """
        record = torch.arange(min(1, int(self.record[0])), num_records)
        source = (torch.searchsorted(self.record, record, right=True) - 1).clamp_min(0)
        is_old = self.record[source] == record
        whole = self._at(source)
        value = torch.where(is_old[:, None], whole.value, torch.nan)
        return replace(whole, record=record, value=value)

    def first(self, num_times: int) -> "ObservationSet":
        """Return the first observation times alone."""
        return self._at(torch.arange(min(num_times, self.num_times)))

    def _at(self, times: Int[Tensor, " time"]) -> "ObservationSet":
        is_still = self.index.stride(1) == 0 and self.num_times > 1
        return ObservationSet(
            self.record[times],
            self.index[:, :1].expand(-1, len(times), -1) if is_still else self.index[:, times],
            self.value[:, times],
            self.variance[:, times],
            None if self.operator is None else self.operator.at(times),
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

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield nothing."""
        yield from ()


class LocationsSpec(MethodSpec):
    """Options of a choice of sites. A site is a grid point, by its flat index over space."""

    @abstractmethod
    def draw(
        self, truth: FieldData, count: tuple[int, int], generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return the sites of `count = (batch, time)` experiments and observation times; never a masked
        point.

        Args:
            truth: Its window is what is observed. A choice may look at its part `train`, never at the window.
            count: Experiments and observation times.
            generator: Of whatever is drawn.

        Raises:
            OutsideDomain: A site that was named is not on the grid or holds no data.
            EmptySelection: There are fewer valid points than sites.
        """

    @abstractmethod
    def num_sites(self, fields: FieldsInfo) -> int:
        """Return how many sites there are (an upper bound where a mask may take some away)."""


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
