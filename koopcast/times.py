"""Record times in any CF calendar: partial dates, closed ranges, durations, and the step between records."""

import re
from dataclasses import dataclass

import cftime
import numpy as np
import pandas as pd
from jaxtyping import Int

from koopcast.errors import DataError, InvalidInput, UnknownCalendar

CALENDARS = {
    "standard": "standard",
    "gregorian": "standard",
    "proleptic_gregorian": "proleptic_gregorian",
    "julian": "julian",
    "noleap": "noleap",
    "365_day": "noleap",
    "all_leap": "all_leap",
    "366_day": "all_leap",
    "360_day": "360_day",
}
"""Names that CF defines -> the one that Koopcast writes."""
_LIMITS = {"m": (1, 12), "d": (1, 31), "H": (0, 23), "M": (0, 59), "S": (0, 60)}
_PARTIAL = re.compile(
    r"(?P<Y>-?\d{4,6})(-(?P<m>\d\d?)(-(?P<d>\d\d?)([T ](?P<H>\d\d?)(:(?P<M>\d\d?)(:(?P<S>\d\d?))?)?)?)?)?Z?"
)
_DURATION = re.compile(
    r"(?P<sign>-?)P(?=.)((?P<Y>\d{1,9})Y)?((?P<m>\d{1,9})M)?((?P<W>\d{1,9})W)?((?P<d>\d{1,9})D)?"
    r"(T(?=.)((?P<H>\d{1,9})H)?((?P<M>\d{1,9})M)?((?P<S>\d{1,9}(\.\d{1,9})?)S)?)?"
)
_RANGE = re.compile(r"\s*(?P<first>.*?)\s*\.\.\s*(?P<last>.*?)\s*")
_MONTH_SECONDS = 30.436875 * 86400
_LONGEST_MONTH_SHIFT = 4 * 86400
"""Largest difference between the lengths of two spans of as many calendar months, with room for month-end
stamps."""


@dataclass(frozen=True)
class Duration:
    """Whole calendar months plus seconds."""

    months: int
    seconds: float


def calendar_name(name: str) -> str:
    """Return the CF name that Koopcast writes for a calendar.

    Raises:
        UnknownCalendar: CF defines no such calendar.
    """
    if name.strip().lower() not in CALENDARS:
        raise UnknownCalendar(
            f"unknown calendar '{name[:40]}'",
            f"state one of {', '.join(CALENDARS)} in the source: `time: {{calendar: ...}}`",
        )
    return CALENDARS[name.strip().lower()]


def calendar_of(times: np.ndarray) -> str | None:
    """Return the calendar of record times; None for model time, which is plain numbers."""
    if np.issubdtype(times.dtype, np.datetime64):
        return "proleptic_gregorian"
    return calendar_name(times.flat[0].calendar) if times.dtype == object and times.size else None


def parse_duration(text: str) -> Duration:
    """Read an ISO 8601 duration such as `P1M`, `P1D`, `PT6H`.

    Raises:
        InvalidInput: It is not one.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"'{text[:40]}' is not an ISO 8601 duration", "write P1M, P1D, PT6H or the like")
    part = {name: float(value) for name, value in match.groupdict(default="0").items() if name != "sign"}
    sign = -1 if match["sign"] else 1
    days = 7 * part["W"] + part["d"]
    seconds = 86400 * days + 3600 * part["H"] + 60 * part["M"] + part["S"]
    return Duration(sign * int(12 * part["Y"] + part["m"]), sign * seconds)


def parse_date(text: str) -> tuple[int, ...]:
    """Read a date given down to the year, month, day, hour, minute or second: `2009-03` -> (2009, 3).

    Raises:
        InvalidInput: It is not one.
    """
    match = _PARTIAL.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(
            f"'{text[:40]}' is not a date", "write 2009, 2009-03, 2009-03-16 or 2009-03-16T12:00"
        )
    parts = {name: int(match[name]) for name in "YmdHMS" if match[name] is not None}
    for name, (lowest, highest) in _LIMITS.items():
        if not lowest <= parts.get(name, lowest) <= highest:
            raise InvalidInput(
                f"'{text[:40]}' is not a date", f"{parts[name]} is outside {lowest}..{highest}"
            )
    return tuple(parts.values())


def parse_range(text: str) -> tuple[str, str]:
    """Read `first..last` (either end may be open); a single date is the range of itself."""
    match = _RANGE.fullmatch(text)
    return (match["first"], match["last"]) if match else (text.strip(), text.strip())


def components(times: np.ndarray) -> Int[np.ndarray, "time 6"]:
    """Return year, month, day, hour, minute and second of calendar times."""
    if np.issubdtype(times.dtype, np.datetime64):
        index = pd.DatetimeIndex(times)
        columns = (index.year, index.month, index.day, index.hour, index.minute, index.second)
        return np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1)
    rows = [(t.year, t.month, t.day, t.hour, t.minute, t.second) for t in times]
    return np.array(rows, dtype=np.int64).reshape(len(rows), 6)


def closed_range(times: np.ndarray, first: str | float, last: str | float) -> slice:
    """Return the records from `first` to `last`, both included; an empty string is an open end.

    A partial date stands for all of its period, so that `..2009-03` holds every record of March 2009 in any
    calendar.
    """
    is_model_time = calendar_of(times) is None
    lower, upper = (_order(times, end, is_model_time) for end in (first, last))
    begin = 0 if lower is None else int(np.searchsorted(lower[0], lower[1] - lower[2], side="left"))
    end = len(times) if upper is None else int(np.searchsorted(upper[0], upper[1] + upper[2], side="right"))
    return slice(begin, max(begin, end))


def elapsed_seconds(times: np.ndarray) -> np.ndarray:
    """Return the seconds from the first record to each of calendar times."""
    if np.issubdtype(times.dtype, np.datetime64):
        return np.asarray((times - times[0]) / np.timedelta64(1, "ns") * 1e-9)
    return np.array([(time - times[0]).total_seconds() for time in times])


def regular_step(times: np.ndarray) -> float | str:
    """Return the spacing of records as `TimeAxis.step` writes it; an empty string where it is unequal.

    Calendar months and years count as equal (`P1M`, `P1Y`) though their lengths differ, and wherever within
    the month the stamp lies (mid-month dates move by a day). A single record has no step.
    """
    if len(times) < 2:
        return ""
    if calendar_of(times) is None:
        steps = np.diff(times.astype(np.float64))
        mean = float(times[-1] - times[0]) / (len(times) - 1)
        return float(f"{mean:.12g}") if np.allclose(steps, mean, rtol=1e-4, atol=0) else ""
    gaps = np.diff(elapsed_seconds(times))
    is_constant = bool(np.allclose(gaps, gaps[0], rtol=0, atol=1.0))
    months = _regular_months(times, gaps, is_constant)
    if months:
        return f"P{months // 12}Y" if months % 12 == 0 else f"P{months}M"
    return _iso_seconds(float(np.mean(gaps))) if is_constant else ""


def shifted_months(date: cftime.datetime, months: int) -> cftime.datetime:
    """Return the same day and hour `months` later.

    Raises:
        DataError: That month has no such day.
    """
    count = date.year * 12 + date.month - 1 + months
    try:
        return date.replace(year=count // 12, month=count % 12 + 1)
    except ValueError as error:
        raise DataError(
            f"{date.isoformat()} plus {months} months is not a date", "count months from a day up to the 28th"
        ) from error


def _order(
    times: np.ndarray, end: str | float, is_model_time: bool
) -> tuple[np.ndarray, float, float] | None:
    if end == "":
        return None
    if is_model_time:
        step = abs(float(times[-1] - times[0])) / max(1, len(times) - 1)
        return times.astype(np.float64), _number(end), 1e-6 * step
    # A bare year may arrive as a number.
    date = parse_date(f"{end:04.0f}" if isinstance(end, float) and end.is_integer() else str(end))
    digits = np.array([100**5, 100**4, 100**3, 100**2, 100, 1], dtype=np.int64)
    keys = components(times) @ digits // 100 ** (6 - len(date))
    return keys, float(int(np.array(date) @ digits[-len(date) :])), 0.0


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(
            f"'{text}' is not a number, but the records are in model time", "write `0..100` in its time unit"
        ) from error


def _regular_months(times: np.ndarray, gaps: np.ndarray, is_constant: bool) -> int:
    """Return the common number of calendar months between records, 0 where there is none."""
    parts = components(times)
    steps = np.diff(parts[:, 0] * 12 + parts[:, 1])
    months = int(steps[0])
    if months < 1 or (steps != months).any():
        return 0
    is_same_day = bool((parts[:, 2:] == parts[0, 2:]).all())
    # Equal gaps are months only where the stamps say so: the same day, or the middle of each month.
    position = parts[:, 2] - 1 + parts[:, 3] / 24
    is_middle = bool(((position >= 13.9) & (position <= 15.6)).all())
    if is_constant and not (is_same_day or is_middle):
        return 0
    is_near = np.abs(gaps - months * _MONTH_SECONDS) <= _LONGEST_MONTH_SHIFT + 0.02 * months * _MONTH_SECONDS
    return months if bool(is_near.all()) else 0


def _iso_seconds(seconds: float) -> str:
    whole = round(seconds)
    if abs(seconds - whole) > 1e-3:
        return f"PT{seconds:.6g}S"
    for size, form in ((86400, "P{}D"), (3600, "PT{}H"), (60, "PT{}M")):
        if whole and whole % size == 0:
            return form.format(whole // size)
    return f"PT{whole}S"
