"""The options of a cycle: its windows, what is forecast from them, and what its archive keeps."""

from itertools import pairwise
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, PositiveInt, field_validator, model_validator

from koopcast.cycles.archive import Form, Keeping
from koopcast.cycles.clock import Clock, later, negative, parse_moment
from koopcast.errors import InvalidInput
from koopcast.spec import Spec
from koopcast.times import parse_duration

MOST_AHEAD = 10_000
"""Windows, of a forecast."""


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    return text


class WindowOptions(Spec):
    """Which times belong to a window, as seen from its label."""

    begin: str | None = None
    """From the label to the beginning, such as -P1M; default: one step back."""
    length: str | None = None
    """From beginning to end; default: one step. No longer than a step: a report belongs to one window."""
    closed: Literal["left", "right"] = "right"
    """The side that belongs to the window."""

    @field_validator("begin", "length")
    @classmethod
    def _are_durations(cls, text: str | None) -> str | None:
        return None if text is None else _duration(text)


class CycleOptions(Spec):
    """The windows of a cycle."""

    start: str
    """Label of the first window: a date in UTC, such as 2009-10 or 2020-01-01T06:00."""
    step: str
    """From one label to the next: P1M, PT6H."""
    end: str | None = None
    """No label lies after it; default: there is no end."""
    window: WindowOptions = WindowOptions()
    """Which times belong to a window."""
    cutoff: str = "PT0S"
    """From the end of a window to the moment at which it may be analysed."""
    record: str | None = None
    """Time of one record of the model, where its data are in model time; else the model knows it."""

    @field_validator("step", "cutoff", "record")
    @classmethod
    def _are_durations(cls, text: str | None) -> str | None:
        return None if text is None else _duration(text)

    @field_validator("start", "end")
    @classmethod
    def _are_dates(cls, text: str | None) -> str | None:
        try:
            if text is not None:
                parse_moment(text)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> "CycleOptions":
        step = parse_duration(self.step)
        if step.months < 0 or step.seconds < 0 or not (step.months or step.seconds):
            raise ValueError(f"step: '{self.step}' is no time ahead; write P1M, P1D or PT6H")
        if step.months and step.seconds:
            raise ValueError(f"step: '{self.step}' mixes months and days; use one of them")
        clock = self.clock()
        start = clock.label(0)
        try:
            due = clock.due_at(0)
            length = later(start, clock.length) - start
            bounds = [clock.bounds(number) for number in range(49 if step.months else 2)]
        except (ValueError, OverflowError) as error:
            raise ValueError(f"the first window is no longer within the calendar ({error})") from error
        # Of four years: months and years differ in length.
        overlaps = any(end > begin for (_, end), (begin, _) in pairwise(bounds))
        if length <= pd.Timedelta(0) or overlaps:
            raise ValueError(
                f"window.length: '{self.window.length}' is not between 0 and one step ({self.step}); "
                "a report belongs to one window"
            )
        if due <= clock.bounds(0)[0]:
            raise ValueError(f"cutoff: '{self.cutoff}' is before a window begins; write PT0S or later")
        if later(start, clock.begin) > start or clock.bounds(0)[1] < start - (later(start, step) - start):
            raise ValueError(
                f"window.begin: '{self.window.begin}' lies after the label, or has the window end more "
                "than a step before it; a window is analysed at its label"
            )
        if clock.end is not None and clock.end < start:
            raise ValueError(f"end: {self.end} is before start {self.start}")
        return self

    def clock(self) -> Clock:
        """Return the windows."""
        step = parse_duration(self.step)
        window = self.window
        return Clock(
            parse_moment(self.start),
            step,
            negative(step) if window.begin is None else parse_duration(window.begin),
            step if window.length is None else parse_duration(window.length),
            parse_duration(self.cutoff),
            window.closed,
            None if self.end is None else parse_moment(self.end),
        )


class ForecastOptions(Spec):
    """What is forecast from each analysis."""

    leads: list[Annotated[int, Field(ge=1, le=MOST_AHEAD)]] = Field([1], min_length=1)
    """Windows ahead, increasing."""

    @field_validator("leads")
    @classmethod
    def _increase(cls, leads: list[int]) -> list[int]:
        if leads != sorted(set(leads)):
            raise ValueError(f"leads: {leads} do not increase; write {sorted(set(leads))}")
        return leads


class RestartOptions(Spec):
    """Which windows keep the state from which a chain goes on; others are computed anew when needed."""

    every: PositiveInt = 1
    """Every n-th window keeps its state for ever; 1: all."""
    last: PositiveInt = 10
    """So many of the last windows keep theirs; at least two more than `max_rerun_windows`."""


class ArchiveOptions(Spec):
    """What the archive keeps, and in which form."""

    store: Form = "windows"
    """`windows`: a zarr store a window; `icechunk`: one repository, `fields.icechunk`, with its history (by
    the package icechunk). It cannot be changed once the archive is begun."""
    compact: Literal["month", "never"] = "month"
    """Whether the fields of completed months, which no late report can change, are brought together into one
    zarr store a month, which opens faster."""
    restart: RestartOptions = RestartOptions()
    """Which windows keep the state from which a chain goes on."""
    keep: str | None = None
    """How long windows are kept, such as P1Y; older ones are dropped by whole calendar months. Default: for
    ever."""
    members: bool = False
    """Whether the fields hold the analysed members too, as `members`, not only their mean and spread."""

    @field_validator("keep")
    @classmethod
    def _is_a_time(cls, text: str | None) -> str | None:
        if text is not None:
            length = parse_duration(_duration(text))
            if length.months < 0 or length.seconds < 0:
                raise ValueError(f"'{text}' is no time ago; write P1Y or P90D")
        return text

    @model_validator(mode="after")
    def _drops_whole_windows(self) -> "ArchiveOptions":
        if self.store == "icechunk" and self.keep is not None:
            raise ValueError("keep: a repository keeps its history; remove it, or choose `store: windows`")
        return self

    def keeping(self) -> Keeping:
        """Return what the writer of an archive does by these options."""
        keep = None if self.keep is None else parse_duration(self.keep)
        return Keeping(self.store, self.compact, self.restart.every, self.restart.last, keep)
