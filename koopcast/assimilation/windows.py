"""Observations of several records in one analysis of a filter, and its first guess at their times."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.observations.base import ObservationSet, ObservationType, Operator
from koopcast.observations.quality import Flag
from koopcast.spec import Spec


class AnalysisWindow(Spec):
    """One analysis for the observations of several records in a row.

    Windows follow one another from the initial record on, which belongs to none; the last one must be whole.
    """

    records: PositiveInt = 6
    """Records of a window: all its observations enter one analysis."""
    analysis: Literal["end", "middle"] = "end"
    """Which record of the window is analysed."""
    first_guess: Literal["at_time", "four_dimensional", "at_analysis"] = "at_time"
    """`at_time`: departures from the background at the record of each observation, spread around it at the
    analysis (FGAT); `four_dimensional`: that spread too at its record, so that the ensemble carries it
    through time; `at_analysis`: both at the analysis, as if all were observed then."""

    @property
    def place(self) -> int:
        """Records from the start of a window to its analysis."""
        return self.records if self.analysis == "end" else (self.records + 1) // 2

    def num_windows(self, num_records: int) -> int:
        """Return how many windows there are."""
        return (num_records - 1) // self.records

    def grouped(self, observations: ObservationSet, num_records: int) -> ObservationSet:
        """Return the observations with a time for each window: its analysis.

        Raises:
            EmptySelection: The records hold no whole window.
        """
        windows, size = self.num_windows(num_records), self.records
        if windows == 0:
            raise EmptySelection(
                f"{num_records} records hold no window of {size} after the first", "shorten the window"
            )
        base = observations.aligned(torch.arange(windows * size + 1)).at(torch.arange(1, windows * size + 1))
        due = (base.flag != Flag.ABSENT).unflatten(1, (windows, size)).any(dim=1).any(dim=0)
        columns, types = _by_type(base, due)
        record = torch.arange(windows) * size + self.place
        operator = Grouped(base, columns, torch.arange(windows), self)
        is_still = base.index.stride(1) == 0
        index = _rows(base.index[:, :size], columns) if is_still else _rows(base.index, columns, windows)
        return ObservationSet(
            record=record,
            index=index.expand(-1, windows, -1),
            value=_rows(base.value, columns, windows),
            variance=_rows(base.variance, columns, windows),
            operator=operator,
            checked=_rows(base.flag, columns, windows),
            types=types,
            offset=columns // base.value.shape[2] + 1 - self.place,
        )


@dataclass(frozen=True)
class Grouped(Operator):
    """The observations of all records of a window, seen of one state or each of its own."""

    base: ObservationSet
    """One time a record, the windows one after the other."""
    columns: Int[Tensor, " obs"]
    """Place of each observation among those of the window: records first, then columns of `base`."""
    windows: Int[Tensor, " time"]
    options: AnalysisWindow

    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return all that is seen, as if of the same state."""
        return self.together({place: self.part(cells, time, place) for place in range(self.options.records)})

    def part(
        self,
        cells: Float[Tensor, "batch member cell"],
        time: int,
        place: int,
        before: Float[Tensor, "batch member cell"] | None = None,
    ) -> Float[Tensor, "batch member _"]:
        """Return what is seen at one record of a window, 0 for its first.

        Observations that precede it lie between what is seen of `before`, one record earlier, and of `cells`.
        """
        number = int(self.windows[time]) * self.options.records + place
        seen = self.base.seen(cells, number)
        if before is None or not self.is_early:
            return seen
        share = torch.cat([torch.full((kind.count,), kind.early) for kind, _ in self.base.sections()])
        return torch.lerp(seen, self.base.seen(before, number), share.to(seen))

    @property
    def is_early(self) -> bool:
        """Whether some observations precede the record that they are listed at."""
        return any(kind.early > 0 for kind in self.base.types)

    def together(self, parts: Mapping[int, Tensor]) -> Float[Tensor, "batch member obs"]:
        """Return the parts of all records in the order of the columns."""
        whole = torch.cat([parts[place] for place in range(self.options.records)], dim=2)
        chosen: Tensor = whole[..., self.columns]
        return chosen

    def at(self, times: Int[Tensor, " time"]) -> "Grouped":
        """Return these windows."""
        return replace(self, windows=self.windows[times])


def first_guess(
    own: Float[Tensor, "batch member obs"], there: Float[Tensor, "batch member obs"], options: AnalysisWindow
) -> Float[Tensor, "batch member obs"]:
    """Return the predicted observations of an analysis, given those at their own records and at it."""
    if options.first_guess == "four_dimensional":
        return own
    return there + (own - there).mean(dim=1, keepdim=True)


def _by_type(base: ObservationSet, due: Tensor) -> tuple[Tensor, tuple[ObservationType, ...]]:
    """Return the places that ever hold an observation, type by type and record by record, and the types."""
    width, columns, types = base.value.shape[2], [], []
    for kind, section in base.sections():
        inside = torch.zeros_like(due)
        inside[:, section] = due[:, section]
        places = inside.flatten().nonzero()[:, 0]
        assert inside.shape[1] == width
        columns.append(places)
        types.append(replace(kind, count=len(places)))
    return torch.cat(columns), tuple(types)


def _rows(values: Tensor, columns: Tensor, windows: int = 1) -> Tensor:
    """Return `(batch, record, obs)` as `(batch, window, column)`."""
    chosen: Tensor = values.unflatten(1, (windows, -1)).flatten(2)[..., columns]
    return chosen
