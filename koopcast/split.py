"""Parts of a dataset, `train`, `valid` and `test`: ranges of time, shares of samples, never overlapping."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from koopcast.errors import DataError, EmptySelection, InvalidInput
from koopcast.grids import FieldsInfo, Window
from koopcast.spec import Spec
from koopcast.times import closed_range, parse_date, parse_range

Part = Literal["train", "valid", "test"]
Fraction = Annotated[float, Field(gt=0, le=1)]
ORDER: tuple[Part, ...] = ("train", "valid", "test")
"""Shares and counts are dealt in this order, however they are written."""


class Split(Spec):
    """Which records belong to `train`, `valid` and `test`; a record may belong to none."""

    time: dict[Part, str | PositiveInt | Fraction] | None = Field(None, min_length=1)
    """Range of dates `2009-04..2009-09` (both ends included, either may be open, partial dates stand for all
    of their period) or of model time `0..100`; or a share 0.8; or a count of records."""
    sample: dict[Part, PositiveInt | Fraction] | None = Field(None, min_length=1)
    """Share or count of the samples, dealt in the order train, valid, test."""

    @model_validator(mode="after")
    def _shares_are_possible(self) -> "Split":
        if self.time is None and self.sample is None:
            raise ValueError("a split needs `time` or `sample`")
        for share in (self.time or {}).values():
            _refuse_unreadable(share)
        for name, shares in (("time", self.time or {}), ("sample", self.sample or {})):
            kinds = {type(share) for share in shares.values()}
            if len(kinds) > 1:
                raise ValueError(f"`{name}` mixes ranges, shares and counts; use one of them")
            total = sum(share for share in shares.values() if isinstance(share, float))
            if total > 1 + 1e-9:
                raise ValueError(f"the shares of `{name}` add up to {total:g}, above 1")
        return self


def _refuse_unreadable(share: str | int | float) -> None:
    """Raise ValueError for a range whose ends are neither dates nor numbers."""
    ends = [end for end in parse_range(share) if end] if isinstance(share, str) else []
    for end in ends:
        try:
            float(end)
        except ValueError:
            try:
                parse_date(end)
            except InvalidInput as error:
                raise ValueError(str(error)) from error


def apply_split(info: FieldsInfo, split: Split | None, times: np.ndarray) -> FieldsInfo:
    """Return `info` with the windows of the parts.

    Args:
        info: Of the whole dataset.
        split: None leaves the dataset whole.
        times: Record times: numbers (model time), datetime64 or cftime dates, increasing.

    Raises:
        EmptySelection: A part holds nothing.
        DataError: Two parts share a record.
    """
    if split is None:
        return replace(info, parts={})
    along_time = dict(_deal(split.time or {}, info.time.size, times, "time"))
    along_sample = dict(_deal(split.sample or {}, info.samples, np.arange(info.samples), "sample"))
    names = [name for name in ORDER if name in along_time or name in along_sample]
    parts: dict[str, Window] = {
        name: Window(
            along_sample.get(name, (0, info.samples)),
            along_time.get(name, (0, info.time.size)),
        )
        for name in names
    }
    _refuse_overlap(parts, times)
    return replace(info, parts=parts)


def _deal(
    shares: Mapping[Part, str | int | float], size: int, times: np.ndarray, axis: str
) -> Iterator[tuple[Part, tuple[int, int]]]:
    """Yield the half-open index range of each part along one axis."""
    spent = 0.0
    for name in ORDER:
        if name not in shares:
            continue
        share = shares[name]
        if isinstance(share, str):
            found = closed_range(times, *parse_range(share))
            bounds = (int(found.start), int(found.stop))
        else:
            end = spent + share * (size if isinstance(share, float) else 1)
            bounds = (round(spent), round(end))
            spent = end
        if bounds[0] >= bounds[1] or bounds[1] > size:
            raise EmptySelection(
                f"part '{name}' asks for {axis} {share} and holds nothing of it: there are {size} "
                f"({show_time(times[0])} to {show_time(times[-1])})",
                f"change `split.{axis}.{name}`",
            )
        yield name, bounds


def _refuse_overlap(parts: Mapping[str, Window], times: np.ndarray) -> None:
    for (one, a), (other, b) in combinations(parts.items(), 2):
        first, last = max(a.times[0], b.times[0]), min(a.times[1], b.times[1])
        if first < last and max(a.samples[0], b.samples[0]) < min(a.samples[1], b.samples[1]):
            raise DataError(
                f"parts '{one}' and '{other}' share {last - first} records "
                f"({show_time(times[first])} to {show_time(times[last - 1])})",
                "ranges hold both of their ends: let one begin after the other ends",
            )


def show_time(time: object) -> str:
    """Return a record time as people write it."""
    if isinstance(time, np.datetime64):
        return str(np.datetime_as_string(time, unit="s")).removesuffix("T00:00:00")
    return time.isoformat().removesuffix("T00:00:00") if hasattr(time, "isoformat") else f"{time:g}"
