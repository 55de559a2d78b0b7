"""Time axes of files: numbers and an epoch in any CF calendar, and the spellings that CF readers refuse."""

import re

import cftime
import numpy as np
import xarray as xr
from jaxtyping import Float

from koopcast.errors import DataError
from koopcast.sources.base import TimeOverride
from koopcast.times import calendar_name, parse_date, parse_duration, shifted_months

_EPOCH = re.compile(r"\s*(?P<unit>[A-Za-z]+)\s+since\s+(?P<date>\S+)(?P<rest>.*)", re.IGNORECASE)
_MONTHS = {"month": 1, "months": 1, "mon": 1, "year": 12, "years": 12, "yr": 12, "common_year": 12}


def decode_time(dataset: xr.Dataset, override: TimeOverride | None) -> xr.Dataset:
    """Return the dataset with `time` as dates (datetime64 where they fit, else cftime) or as model time.

    Samples without time are left as they are.

    Beyond CF: `months since` and `years since` count calendar months; a reference year 0 in the standard
    calendar, which has none, is read in the proleptic Gregorian calendar, as the programs that write it mean
    it.

    Raises:
        DataError: There are no times, they do not increase, or their units cannot be read.
        UnknownCalendar: CF does not define the calendar.
    """
    if "time" not in dataset.dims:
        return dataset
    override = override or TimeOverride()
    size = dataset.sizes["time"]
    if override.start is not None:
        times: np.ndarray = counted_times(override, size)
        units = override.units or "1"
    else:
        times, units = _decoded(dataset, override)
    return dataset.assign_coords(time=("time", times, _attributes(dataset, times, units)))


def counted_times(override: TimeOverride, size: int) -> np.ndarray:
    """Return `size` times from `start`, `step` apart."""
    start, step = override.start, override.step
    if step is None:
        raise DataError(
            "`time: {start: ...}` needs `step` too", "write P1M, P1D, PT6H, or a number for model time"
        )
    if isinstance(step, float | int):
        if isinstance(start, str):
            raise DataError(
                f"the step {step} has no unit beside the date {start}", "write P1D, PT6H or the like"
            )
        return float(start or 0) + step * np.arange(size)
    calendar = calendar_name(override.calendar or "standard")
    date = (*parse_date(str(start)), 1, 1)[: max(3, len(parse_date(str(start))))]
    first = cftime.datetime(*date, calendar=calendar)
    duration = parse_duration(step)
    if duration.months:
        return _as_times([shifted_months(first, duration.months * index) for index in range(size)])
    return _as_times(cftime.num2date(duration.seconds * np.arange(size), f"seconds since {first}", calendar))


def _decoded(dataset: xr.Dataset, override: TimeOverride) -> tuple[np.ndarray, str]:
    if "time" not in dataset.coords:
        raise DataError("the time axis has no coordinate", "state it: `time: {start: 2006-04, step: P1M}`")
    variable = dataset["time"]
    units = override.units or str(variable.attrs.get("units", ""))
    if np.issubdtype(variable.dtype, np.datetime64) or variable.dtype == object:
        return variable.values, ""
    numbers = variable.values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(
            "the time axis holds missing values", "repair the file or state `time: {start, step}`"
        )
    epoch = _EPOCH.fullmatch(units)
    calendar = calendar_name(override.calendar or str(variable.attrs.get("calendar", "standard")))
    if epoch is None:
        return numbers, units or "1"
    year = parse_year(epoch["date"])
    if year == 0 and calendar == "standard":
        calendar = "proleptic_gregorian"
    if epoch["unit"].lower() in _MONTHS:
        count = numbers * _MONTHS[epoch["unit"].lower()]
        return _months_since(count, f"{epoch['date']}{epoch['rest']}", calendar), ""
    try:
        dates = cftime.num2date(numbers, units, calendar, only_use_cftime_datetimes=True)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"the time units '{units[:60]}' cannot be read ({error})",
            "state them: `time: {units: ..., calendar: ...}`",
        ) from error
    return _as_times(dates), ""


def parse_year(text: str) -> int | None:
    """Return the year of a reference date; None where it begins with no number."""
    match = re.match(r"-?\d+", text)
    return int(match[0]) if match else None


def _months_since(months: Float[np.ndarray, " time"], reference: str, calendar: str) -> np.ndarray:
    """Count calendar months, with one common fraction of a month (0.5 for mid-month stamps).

    Raises:
        DataError: The fractions differ: a month has no fixed length outside the calendar of 360 days.
    """
    start = cftime.num2date(0, f"days since {reference.strip()}", calendar, only_use_cftime_datetimes=True)
    if calendar == "360_day":
        return _as_times(cftime.num2date(months * 30, f"days since {reference.strip()}", calendar))
    whole = np.floor(months + 1e-6)
    fraction = months - whole
    if np.ptp(fraction) > 1e-3:
        raise DataError(
            f"'months since {reference.strip()}' with fractions of a month from {fraction.min():.3f} to "
            f"{fraction.max():.3f} has no fixed meaning in the calendar '{calendar}'",
            "state the times: `time: {start: 2006-04, step: P1M}`",
        )
    begins = [shifted_months(start, int(count)) for count in whole]
    if fraction.max() < 1e-3:
        return _as_times(begins)
    share = float(np.round(np.mean(fraction), 3))
    return _as_times([begin + share * (shifted_months(begin, 1) - begin) for begin in begins])


def _as_times(dates: object) -> np.ndarray:
    """Return dates as datetime64 where the calendar and the range allow, as cftime objects otherwise."""
    objects = np.array(list(np.atleast_1d(np.asarray(dates, dtype=object))), dtype=object)
    calendars = ("standard", "gregorian", "proleptic_gregorian")
    if objects[0].calendar not in calendars or objects[0].year < 1678 or objects[-1].year > 2261:
        return objects
    # cftime carries microseconds, and the rounding of numbers such as days / 24 shows in the last of them.
    micro = np.array([np.datetime64(date.isoformat(), "us") for date in objects])
    second = (micro + np.timedelta64(500_000, "us")).astype("datetime64[s]")
    is_rounding = np.abs((micro - second).astype(np.int64)) <= 20
    return np.where(is_rounding, second.astype("datetime64[ns]"), micro.astype("datetime64[ns]"))


def _attributes(dataset: xr.Dataset, times: np.ndarray, units: str) -> dict[str, str]:
    if len(times) == 0:
        raise DataError("the file holds no record", "check the file")
    increases = times[1:] > times[:-1]
    if not bool(np.all(increases)):
        at = int(np.argmin(increases))
        raise DataError(
            f"times do not increase: record {at + 1} ({times[at + 1]}) follows {times[at]}",
            "sort the file, or state the times: `time: {start, step}`",
        )
    is_model_time = np.issubdtype(times.dtype, np.number)
    name = str(dataset["time"].attrs.get("long_name", "time")) if "time" in dataset.coords else "time"
    return {"long_name": name, **({"units": units} if is_model_time else {"standard_name": "time"})}
