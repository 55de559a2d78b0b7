"""Times as tables write them: texts with a zone or without, and numbers since a date."""

import re

import cftime
import numpy as np
import pandas as pd

from koopcast.errors import DataError

YEARS = (1700, 2200)
"""Times before and from there on are no times of reports."""
SECONDS = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
    "d": 86400, "day": 86400, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "us": 1e-6, "microsecond": 1e-6,
    "ns": 1e-9, "nanosecond": 1e-9,
}  # fmt: skip
"""Unit of a number that stands for a time -> its length."""
DATED = r"\d{4}(-\d|[/. ]\d{1,2}[/. ]\d|\d{4})"
"""How texts begin that hold a month or a day: pandas takes `now` for a time, 2020 and 2020.5 for dates."""


def moments(column: pd.Series, units: str | None = None) -> pd.Series:
    """Return times in UTC without a zone; NaT for what is no date, or lies outside of `YEARS`.

    Args:
        column: Dates; ISO 8601 where they are texts, of which those without a zone are in UTC.
        units: Of numbers, also of those that are texts, such as `hours since 1970-01-01`; default: a number
            is no time.

    Raises:
        DataError: The units cannot be read.
    """
    if column.dtype.kind == "M":
        parsed = pd.to_datetime(column, utc=True)
    elif pd.api.types.is_numeric_dtype(column):
        return numbered(column, units)
    elif units is not None:
        numbers = pd.to_numeric(column, errors="coerce")
        return numbered(numbers, units).fillna(moments(column.where(numbers.isna())))
    else:
        texts = column.astype("string").str.strip()
        texts = texts.where(texts.str.match(DATED, na=False))
        parsed = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
        if (named := parsed.isna() & texts.str.contains("UTC|GMT", na=False)).any():
            texts = texts[named].str.replace(r"\s*(UTC|GMT)$", "Z", regex=True)
            parsed[named] = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
    result: pd.Series = believable(parsed).dt.tz_localize(None).astype("datetime64[ns]")
    return result


def numbered(numbers: pd.Series, units: str | None, calendar: str = "standard") -> pd.Series:
    """Return the times that numbers stand for, in units such as `hours since 1970-01-01`; without units,
    none.

    Of the standard calendar, which has none, the year 0 is that of the proleptic Gregorian one.

    Raises:
        DataError: The units cannot be read, count months or years, or the calendar has other days.
    """
    if units is None:
        return pd.Series(pd.NaT, numbers.index, dtype="datetime64[ns]")
    unit, *rest = re.split(r"\s+since\s+", units.strip(), maxsplit=1, flags=re.IGNORECASE)
    name, epoch = unit.lower(), "".join(rest)
    length = SECONDS.get(name) or SECONDS.get(name.removesuffix("s"))
    remedy = "state others, such as `time: {units: hours since 1970-01-01}`"
    if length is None or not epoch:
        raise DataError(
            f"the time units '{units[:60]}' are no seconds, minutes, hours or days since a date", remedy
        )
    if calendar not in ("standard", "gregorian", "proleptic_gregorian"):
        raise DataError(f"the calendar '{calendar[:40]}' has other days than clocks", "convert the file")
    if epoch.startswith("0000"):
        calendar = "proleptic_gregorian"
    try:
        first = cftime.num2date(0, f"seconds since {epoch}", calendar, has_year_zero=True)
        start = cftime.date2num(first, "seconds since 1970-01-01", calendar, has_year_zero=True)
    except (ValueError, OverflowError) as error:
        raise DataError(f"the time units '{units[:60]}' cannot be read ({error})", remedy) from error
    seconds = start + numbers.to_numpy(dtype=np.float64) * length
    with np.errstate(invalid="ignore"):
        is_moment = np.abs(seconds) < 1e11
    # Days and hours as fractions carry rounding: whole microseconds take it away where it can be.
    micro = np.rint(np.where(is_moment, seconds, 0.0) * 1e6).astype("int64").astype("datetime64[us]")
    times = pd.Series(micro, numbers.index).where(pd.Series(is_moment, numbers.index))
    return believable(times).astype("datetime64[ns]")


def believable(times: pd.Series) -> pd.Series:
    """Return times in any unit and zone, NaT for those outside of `YEARS`: many more are possible in seconds
    than can be written as a date.
    """
    index = pd.DatetimeIndex(times)
    first, last = (np.datetime64(f"{year}-01-01", index.unit).astype("int64") for year in YEARS)
    return times.where((index.asi8 >= first) & (index.asi8 < last))
