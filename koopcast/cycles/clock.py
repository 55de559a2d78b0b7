"""Windows of a cycle: when each begins and ends, which are due, and which one a time belongs to."""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from koopcast.errors import InvalidInput
from koopcast.times import Duration, parse_date

NOWHERE = -1
"""Number of no window."""
YEARS = range(1678, 2262)
"""Whose times fit into nanoseconds."""
LABEL = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Clock:
    """Window k has the label start + k step; it is half open, (label + begin, label + begin + length].

    All times are UTC, without a zone, in the proleptic Gregorian calendar.
    """

    start: pd.Timestamp
    step: Duration
    begin: Duration
    length: Duration
    cutoff: Duration
    """From the end of a window to the moment at which it may be analysed."""
    closed: Literal["left", "right"] = "right"
    """The side that belongs to the window."""
    end: pd.Timestamp | None = None
    """No label lies after it."""

    def label(self, number: int) -> pd.Timestamp:
        """Return the time that window `number` is named after: the analysis is valid then."""
        return self._at(number)

    def bounds(self, number: int) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Return where window `number` begins and ends."""
        return self._at(number, self.begin), self._at(number, self.begin, self.length)

    def due_at(self, number: int) -> pd.Timestamp:
        """Return the moment from which window `number` may be analysed."""
        return later(self.bounds(number)[1], self.cutoff)

    def due(self, first: int, now: pd.Timestamp) -> range:
        """Return the windows from `first` on that may be analysed by `now`."""
        if not self._is_due(first, now):
            return range(first, first)
        ended = reduce(later, map(negative, (self.cutoff, self.length, self.begin)), now)
        last = max(first, self._about(ended) + 1)
        while self._is_due(last, now):  # months are cut to the days that they have
            last += 1
        known = range(first, last)
        return known[: bisect_left(known, True, key=lambda number: not self._is_due(number, now))]

    def _is_due(self, number: int, now: pd.Timestamp) -> bool:
        return self.due_at(number) <= now and not self.is_over(number)

    def is_over(self, number: int) -> bool:
        """Return whether window `number` lies after the end of the cycle."""
        return self.end is not None and self.label(number) > self.end

    def name(self, number: int) -> str:
        """Return the label of a window as text that sorts in the order of time: 20091001T000000Z."""
        return self.label(number).strftime(LABEL)

    def number(self, text: str) -> int:
        """Return the window with a label, written as `name` writes it or as a date.

        Raises:
            InvalidInput: No window has this label.
        """
        moment = pd.to_datetime(text, format=LABEL, errors="coerce")
        moment = moment if moment is not pd.NaT else parse_moment(text)
        found = int(
            self.numbers(np.array([moment.to_datetime64()], dtype="datetime64[ns]"), by_label=True)[0]
        )
        if found == NOWHERE or self.label(found) != moment:
            raise InvalidInput(
                f"no window has the label {text} (windows: {self.name(0)}, {self.name(1)}, ...)",
                "give the label of a window",
            )
        return found

    def numbers(self, times: np.ndarray, *, by_label: bool = False) -> Int[np.ndarray, " time"]:
        """Return the window that holds each time, -1 where none does (before the first, or in a gap).

        Args:
            times: datetime64[ns]; NaT belongs nowhere.
            by_label: Look for labels instead: the last one that is not after the time.
        """
        result = np.full(times.shape, NOWHERE, dtype=np.int64)
        known = ~np.isnat(times)
        if not known.any():
            return result
        begin = Duration(0, 0.0) if by_label else self.begin
        is_left = by_label or self.closed == "left"
        place = self._begun(times[known], begin, is_left)
        found = np.where(place >= 0, place, NOWHERE)
        if not by_label:
            ends = self._moments(np.maximum(place, 0), begin, self.length)
            inside = times[known] < ends if is_left else times[known] <= ends
            found = np.where(inside, found, NOWHERE)
        result[known] = found
        return result

    def _begun(self, times: np.ndarray, begin: Duration, is_left: bool) -> Int[np.ndarray, " time"]:
        """Return the last window that has begun at each time, below 0 before the first."""
        if self.step.months or begin.months:
            count = max(1, self._about(pd.Timestamp(times.max())) + 3)
            edges = self._moments(np.arange(count), begin)
            return np.asarray(np.searchsorted(edges, times, side="right" if is_left else "left") - 1)
        # Counted, not looked for among all: one time may lie millions of windows ahead.
        gap = (times - np.datetime64(later(self.start, begin), "ns")).astype(np.int64)
        step = _nanoseconds(self.step).astype(np.int64)
        return np.asarray(gap // step if is_left else -(-gap // step) - 1)

    def _moments(self, numbers: Int[np.ndarray, " window"], *shifts: Duration) -> np.ndarray:
        """Return the labels of windows, each shifted by some durations."""
        if not any(duration.months for duration in (self.step, *shifts)):
            first = np.datetime64(self.start, "ns") + sum(map(_nanoseconds, shifts), np.timedelta64(0, "ns"))
            return np.asarray(first + numbers * _nanoseconds(self.step))
        own, place = np.unique(numbers, return_inverse=True)
        return np.array([self._at(int(number), *shifts) for number in own], dtype="datetime64[ns]")[place]

    def _at(self, number: int, *shifts: Duration) -> pd.Timestamp:
        """Return the label of a window, shifted by some durations.

        All months are counted from the start at once: one after another, from the 31st on, they would leave
        days between windows.
        """
        months = number * self.step.months + sum(shift.months for shift in shifts)
        seconds = number * self.step.seconds + sum(shift.seconds for shift in shifts)
        return later(self.start, Duration(months, seconds))

    def _about(self, moment: pd.Timestamp) -> int:
        """Return about which window has a label near a moment: never too few."""
        if self.step.months:
            months = (moment.year - self.start.year) * 12 + moment.month - self.start.month
            return months // self.step.months + 1
        return int((moment - self.start).total_seconds() // self.step.seconds) + 1


def later(moment: pd.Timestamp, duration: Duration, times: int = 1) -> pd.Timestamp:
    """Return a moment so many durations later; a month ends at the last day that it has."""
    if duration.months:
        moment = moment + pd.DateOffset(months=times * duration.months)
    return moment + pd.Timedelta(seconds=times * duration.seconds)


def _nanoseconds(duration: Duration) -> np.timedelta64:
    """Return the length of a duration without months; it is whole, since texts have nine digits at most."""
    return np.timedelta64(round(duration.seconds * 1e9), "ns")


def parse_moment(text: str) -> pd.Timestamp:
    """Read a date, down to the year, month, day, hour, minute or second, as its first moment in UTC.

    Raises:
        InvalidInput: It is not one.
    """
    given = parse_date(text)
    year, month, day, hour, minute, second = (*given, *(1, 1, 1, 0, 0, 0)[len(given) :])
    try:
        moment = datetime(year, month, day, hour, minute, second)
        if year not in YEARS:
            raise ValueError(f"its year is not in {YEARS[0]}..{YEARS[-1]}")
        return pd.Timestamp(moment)
    except ValueError as error:
        raise InvalidInput(f"'{text[:40]}' is not a date ({error})", "write 2009-03-16T12:00") from error


def steps_in(whole: Duration, part: Duration) -> int | None:
    """Return how many parts make the whole; None where that is no whole number."""
    if whole.months and part.months and not (whole.seconds or part.seconds):
        count, rest = divmod(whole.months, part.months)
        return count if rest == 0 else None
    if whole.months or part.months or part.seconds == 0:
        return None
    number = whole.seconds / part.seconds
    return round(number) if round(number) >= 1 and abs(number - round(number)) < 1e-9 else None


def negative(duration: Duration) -> Duration:
    """Return the duration backwards."""
    return Duration(-duration.months, -duration.seconds)
