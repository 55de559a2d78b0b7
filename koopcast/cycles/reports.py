"""Reports: point observations as they are delivered, each in exactly one class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import cftime
import numpy as np
import pandas as pd
from jaxtyping import Bool

from koopcast.errors import DataError, UnknownUnit
from koopcast.sources.table import ROLES
from koopcast.units import conversion

NAMES = {
    **ROLES,
    "time": (*ROLES["time"], "data_datetime"),
    "station": (*ROLES["station"], "statid", "wmo_station_id"),
    "variable": (*ROLES["variable"], "varno"),
    "value": (*ROLES["value"], "obsvalue"),
    "units": ("units", "unit", "uom"),
    "error": ("error", "obs_error", "sigma", "uncertainty"),
    "height": (
        "height", "elevation", "altitude", "station_height", "stalt",
        "heightofstationgroundabovemeansealevel", "heightofstation",
    ),
    "qc": ("qc", "qc_flag", "flag", "quality"),
    "received_at": ("received_at", "received", "arrival"),
}  # fmt: skip
"""Meaning of a column -> lower-case names under which it is found without `columns`."""
GLOBE = {"latitude": (-90.0, 90.0), "longitude": (-180.0, 360.0)}
"""Where coordinates on the sphere may lie."""
BLANKS = ("", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "null", "NULL", "None", "<NA>")
"""Texts that are no entry: nothing was given there."""
YEARS = (1700, 2200)
"""Times before and from there on are no times of reports."""
LARGEST = 1e30
"""Numbers above stand for missing ones, as fill values of netCDF do; errors lie between 1 over it and it."""
HEIGHTS = (-1000.0, 10000.0)
"""Where stations may stand, in m."""
SECONDS = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
    "d": 86400, "day": 86400, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3,
}  # fmt: skip
"""Unit of a number that stands for a time -> its length."""


class Reason(IntEnum):
    """Why a report is not used: the first that applies. Files hold the number: new ones go to the end."""

    USED = 0
    NO_TIME = 1
    NO_POSITION = 2
    UNKNOWN_VARIABLE = 3
    NO_VALUE = 4
    OUT_OF_BOUNDS = 5
    BAD_ERROR = 6
    PROVIDER_FLAG = 7
    NO_WINDOW = 8
    OUTSIDE_GRID = 9
    MASKED_CELL = 10
    DUPLICATE = 11
    CONFLICT = 12
    LATE = 13
    BACKGROUND_CHECK = 14
    THINNED = 15
    MALFORMED = 16
    TORN = 17
    BUDDY_CHECK = 18
    UNKNOWN_UNITS = 19
    NO_HEIGHT = 20
    HEIGHT_DIFFERENCE = 21

    @property
    def text(self) -> str:
        """Return the reason in words."""
        return _WORDS.get(self, self.name.lower().replace("_", " "))


_WORDS = {
    Reason.NO_TIME: f"no time, or none in the years {YEARS[0]} to {YEARS[1]}",
    Reason.NO_POSITION: "no position on the globe or the axes",
    Reason.NO_VALUE: "no number, or one that stands for a missing value",
    Reason.BAD_ERROR: "an error that is not a positive number",
    Reason.PROVIDER_FLAG: "flagged by its provider",
    Reason.NO_WINDOW: "before the first window or between two",
    Reason.OUTSIDE_GRID: "outside of the grid",
    Reason.MASKED_CELL: "on a cell that holds no data",
    Reason.CONFLICT: "another value for the same place and time",
    Reason.LATE: "arrived after its window was analysed",
    Reason.BACKGROUND_CHECK: "too far from the forecast",
    Reason.BUDDY_CHECK: "unlike its neighbours",
    Reason.THINNED: "another report stands for it",
    Reason.MALFORMED: "a line with another number of fields than the first",
    Reason.UNKNOWN_UNITS: "in units that are unknown, or of another quantity",
    Reason.NO_HEIGHT: "does not state its height, which its correction needs",
    Reason.HEIGHT_DIFFERENCE: "too far above or below the ground of the model",
    Reason.TORN: "a last line without its end: the file was not written whole",
}


def counts(reason: np.ndarray) -> dict[str, int]:
    """Return how many reports are of each class, those that occur."""
    numbers = np.bincount(reason.astype(np.int64), minlength=len(Reason))
    return {item.name.lower(): int(numbers[item]) for item in Reason if numbers[item]}


@dataclass(frozen=True)
class Layout:
    """How a delivered table becomes reports in long form."""

    axes: tuple[str, ...]
    """Names of the space axes, whose coordinates place a report."""
    variables: Mapping[str, str]
    """Variables of the grid -> their units."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Meaning -> column, where the name is not a common one."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Name in a table -> variable of the grid, where they differ."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Variable -> units of its numbers, whatever the tables say."""
    variable: str | None = None
    """Of a table that does not name one."""
    missing: tuple[float, ...] = ()
    """Numbers that stand for a missing value, error or coordinate."""
    time_units: str | None = None
    """Of times that are numbers: `hours since 1970-01-01`."""

    def reports(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return reports: `time`, the axes, `height`, `station`, `variable`, `value`, `error`, `received_at`,
        `qc`, and `reason`.

        Of a wide table, each number is one report; a cell that is empty or NaN is none. `table.attrs` may
        hold `units`, of columns, as the file states them.

        Raises:
            DataError: The table has no column of times or of values.
        """
        stated: Mapping[str, str] = table.attrs.get("units", {})
        table = _plain(table)
        base = self._base(table)
        value = self.column("value", table.columns)
        if value is not None:
            long = self._from_long(table, base, value).assign(said=stated.get(value, ""))
            units = self.column("units", table.columns)
            if units is not None:
                own = _texts(table[units])
                long["said"] = own.where(own != "", long["said"])
        else:
            long = self._from_wide(table, base, stated)
        return self._judged(long)

    def column(self, role: str, available: Iterable[str]) -> str | None:
        """Return the column that has a meaning, in any case of letters, among those of a table."""
        found = {str(name).strip().lower(): name for name in available}
        if role in self.columns:
            return found.get(self.columns[role].strip().lower())
        return next((found[name] for name in NAMES.get(role, (role.lower(),)) if name in found), None)

    def values(self, available: Iterable[str]) -> dict[str, str]:
        """Return variable -> its column, in a wide table."""
        names = list(available)
        found = {name: self.column(self.own_name(name), names) for name in self.variables}
        return {name: column for name, column in found.items() if column is not None}

    def own_name(self, variable: str) -> str:
        """Return what a variable of the grid is called in tables."""
        return next((name for name, other in self.names.items() if other == variable), variable)

    def _base(self, table: pd.DataFrame) -> pd.DataFrame:
        columns = {role: self.column(role, table.columns) for role in (*NAMES, *self.axes)}
        base = pd.DataFrame({"time": self._times(table, columns["time"])})
        for name in (*self.axes, "height", "error"):
            column = columns[name]
            base[name] = np.nan if column is None else self._numbers(table[column])
        base["height"] = base["height"].where(base["height"].between(*HEIGHTS))
        for name in ("station", "qc"):
            column = columns[name]
            base[name] = pd.Series("" if column is None else _texts(table[column]), base.index, dtype="str")
        error, received = columns["error"], columns["received_at"]
        stands = base["error"].between(1 / LARGEST, LARGEST)
        base["has_bad_error"] = False if error is None else _is_given(table[error], self.missing) & ~stands
        base["received_at"] = pd.NaT if received is None else moments(table[received], self.time_units)
        base["received_at"] = base["received_at"].astype("datetime64[ns]")
        return base

    def _times(self, table: pd.DataFrame, time: str | None) -> pd.Series:
        """Return the times of a column, or of one of dates and one of hours."""
        if time is None:
            shown = ", ".join(map(str, table.columns[:12]))
            raise DataError(
                f"there is no column of times (columns: {shown})", "name it: `columns: {time: ...}`"
            )
        date = next((name for name in table.columns if str(name).strip().lower() == "date"), None)
        if "time" in self.columns or date is None or time == date:
            return moments(table[time], self.time_units)
        joint = moments(_texts(table[date]) + "T" + _texts(table[time]))
        return joint.fillna(moments(table[time], self.time_units))

    def _from_long(self, table: pd.DataFrame, base: pd.DataFrame, value: str) -> pd.DataFrame:
        names = self.column("variable", table.columns)
        only = next(iter(self.variables)) if len(self.variables) == 1 else ""
        variable: pd.Series | str = self.variable or only
        if names is not None:
            variable = _texts(table[names]).map(lambda name: self.names.get(name, name)).astype("str")
        return base.assign(variable=variable, value=self._numbers(table[value]))

    def _from_wide(self, table: pd.DataFrame, base: pd.DataFrame, stated: Mapping[str, str]) -> pd.DataFrame:
        """Return one report a row and variable; a variable without a number is not reported there."""
        parts = [
            base.assign(variable=name, value=self._numbers(table[column]), said=stated.get(column, ""))[
                table[column].notna().to_numpy()
            ]
            for name, column in self.values(table.columns).items()
        ]
        if not parts:
            raise DataError(
                f"there is no column of values (columns: {', '.join(map(str, table.columns[:12]))})",
                "name it: `columns: {value: ...}`",
            )
        return pd.concat(parts, ignore_index=True)

    def _numbers(self, column: pd.Series) -> pd.Series:
        """Return a column as numbers: NaN for what is none, or stands for a missing one."""
        if column.dtype.kind in "mM":
            return pd.Series(np.nan, column.index)
        numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
        return numbers.mask(numbers.isin(self.missing))

    def _in_grid_units(self, reports: pd.DataFrame) -> Bool[np.ndarray, " report"]:
        """Convert values and errors on the spot; return which cannot be."""
        is_unknown = np.zeros(len(reports), dtype=bool)
        said, variable = reports["said"], reports["variable"]
        for name, target in self.variables.items():
            rows = (variable == name).to_numpy()
            texts = [self.units[name]] if name in self.units else said[rows].unique()
            for text in texts:
                own = rows if name in self.units else rows & (said == text).to_numpy()
                if not text:
                    continue
                try:
                    change = conversion(text, target, name)
                except UnknownUnit:
                    is_unknown |= own
                    continue
                if not change.is_identity:
                    reports.loc[own, "value"] = reports.loc[own, "value"] * change.scale + change.offset
                    reports.loc[own, "error"] = reports.loc[own, "error"] * abs(change.scale)
        return is_unknown

    def _judged(self, reports: pd.DataFrame) -> pd.DataFrame:
        """Add `reason`, as far as a report alone tells; numbers are then in the units of the grid."""
        place = np.zeros(len(reports), dtype=bool)
        for axis in self.axes:
            place |= ~reports[axis].between(*GLOBE.get(axis, (-LARGEST, LARGEST))).to_numpy()
        is_known = reports["variable"].isin(list(self.variables))
        has_value = reports["value"].between(-LARGEST, LARGEST)
        faults = {
            Reason.NO_TIME: reports["time"].isna(),
            Reason.NO_POSITION: place,
            Reason.UNKNOWN_VARIABLE: ~is_known,
            Reason.UNKNOWN_UNITS: self._in_grid_units(reports),
            Reason.NO_VALUE: ~has_value,
            Reason.BAD_ERROR: reports["has_bad_error"],
        }
        reports["reason"] = np.int8(Reason.USED)
        for reason, rows in faults.items():
            reject(reports, reason, np.asarray(rows, dtype=bool))
        return reports.drop(columns=["has_bad_error", "said"])


def reject(reports: pd.DataFrame, reason: Reason, rows: Bool[np.ndarray, " report"]) -> None:
    """Give rows a reason, those that have none yet."""
    new = rows & (reports["reason"].to_numpy() == Reason.USED)
    reports.loc[new, "reason"] = np.int8(reason)


def deduplicate(reports: pd.DataFrame, axes: Sequence[str], policy: str) -> pd.DataFrame:
    """Return reports sorted, whatever the order of their arrival, with repeats in a class of their own.

    Reports of one variable, time and place (station, where it is named) are one: the same value twice is a
    duplicate; of other values one is kept by `policy` (`first` or `last` received, `mean`), or none (`none`).
    """
    places = [f"place of {axis}" for axis in axes]
    has_station = (reports["station"] != "").to_numpy()
    keyed = reports.assign(
        **{
            place: np.where(has_station, 0.0, _turned(axis, reports[axis]))
            for place, axis in zip(places, axes, strict=True)
        }
    )
    key = ["variable", "time", "station", *places]
    rest = [name for name in ("value", "error", "height", "qc", "reason") if name in reports]
    ordered = keyed.sort_values([*key, "received_at", *axes, *rest], kind="stable", ignore_index=True)
    live = ordered["reason"].to_numpy() == Reason.USED
    chosen = ordered[live]
    reject(ordered, Reason.DUPLICATE, _marked(ordered, chosen.duplicated([*key, "value"])))
    chosen = ordered[ordered["reason"].to_numpy() == Reason.USED]
    repeated = chosen.duplicated(key, keep=False)
    if not repeated.any():
        return ordered.drop(columns=places)
    if policy == "mean":
        means = chosen[repeated].groupby(key, dropna=False)["value"].transform("mean")
        ordered.loc[means.index, "value"] = means
    keep = {"first": "first", "last": "last", "mean": "first", "none": False}[policy]
    reject(ordered, Reason.CONFLICT, _marked(ordered, chosen.duplicated(key, keep=keep)))
    return ordered.drop(columns=places)


def _turned(axis: str, values: pd.Series) -> pd.Series:
    """Return coordinates, longitudes in one turn: 190 and -170 are one place."""
    return (values % 360).round(9) if axis == "longitude" else values


def _marked(whole: pd.DataFrame, part: pd.Series) -> Bool[np.ndarray, " report"]:
    """Return a series of some rows as one of all, false elsewhere."""
    result = np.zeros(len(whole), dtype=bool)
    result[part.index[part.to_numpy()]] = True
    return result


def moments(column: pd.Series, units: str | None = None) -> pd.Series:
    """Return times in UTC without a zone; NaT for what is no date, or lies outside of `YEARS`.

    Args:
        column: Dates; ISO 8601 where they are texts, of which those without a zone are in UTC.
        units: Of numbers, such as `hours since 1970-01-01`; default: a number is no time.

    Raises:
        DataError: The units cannot be read.
    """
    if column.dtype.kind == "M":
        parsed = pd.to_datetime(column, utc=True)
    elif units is not None or pd.api.types.is_numeric_dtype(column):
        return numbered(pd.to_numeric(column, errors="coerce"), units)
    else:
        texts = column.astype("string").str.strip()
        parsed = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
        if (named := parsed.isna() & texts.str.contains("UTC|GMT", na=False)).any():
            texts = texts[named].str.replace(r"\s*(UTC|GMT)$", "Z", regex=True)
            parsed[named] = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
    return _within_years(parsed.dt.tz_localize(None).astype("datetime64[us]"))


def numbered(numbers: pd.Series, units: str | None, calendar: str = "standard") -> pd.Series:
    """Return the times that numbers stand for, in units such as `hours since 1970-01-01`; without units,
    none.

    Of the standard calendar, which has none, the year 0 is that of the proleptic Gregorian one.

    Raises:
        DataError: The units cannot be read, count months or years, or the calendar has other days.
    """
    if units is None:
        return pd.Series(pd.NaT, numbers.index, dtype="datetime64[ns]")
    unit, _, epoch = units.partition(" since ")
    name = unit.strip().lower()
    length = SECONDS.get(name) or SECONDS.get(name.removesuffix("s"))
    remedy = "state others, such as `time: {units: hours since 1970-01-01}`"
    if length is None or not epoch.strip():
        raise DataError(
            f"the time units '{units[:60]}' are no seconds, minutes, hours or days since a date", remedy
        )
    if calendar not in ("standard", "gregorian", "proleptic_gregorian"):
        raise DataError(f"the calendar '{calendar[:40]}' has days that no clock has", "convert the file")
    if epoch.strip().startswith("0000"):
        calendar = "proleptic_gregorian"
    try:
        first = cftime.num2date(0, f"seconds since {epoch.strip()}", calendar, has_year_zero=True)
        start = cftime.date2num(first, "seconds since 1970-01-01", calendar, has_year_zero=True)
    except (ValueError, OverflowError) as error:
        raise DataError(f"the time units '{units[:60]}' cannot be read ({error})", remedy) from error
    seconds = start + numbers.to_numpy(dtype=np.float64) * length
    with np.errstate(invalid="ignore"):
        is_moment = np.abs(seconds) < 1e11
    # Days and hours as fractions carry rounding: whole microseconds take it away where it can be.
    micro = np.rint(np.where(is_moment, seconds, 0.0) * 1e6).astype("int64").astype("datetime64[us]")
    return _within_years(pd.Series(micro, numbers.index).where(pd.Series(is_moment, numbers.index)))


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with rows that are counted, one column a name, bytes as texts, blanks as nothing."""
    table = table.loc[:, ~table.columns.duplicated()].reset_index(drop=True)
    for name, kind in table.dtypes.items():
        if kind.kind == "O":
            table[name] = table[name].map(_decoded)
        if pd.api.types.is_string_dtype(kind) or kind.kind == "O":
            texts = table[name].astype("string").str.strip()
            table[name] = texts.mask(texts.isin(BLANKS))
    return table


def _decoded(cell: object) -> object:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def _within_years(times: pd.Series) -> pd.Series:
    first, last = (np.datetime64(f"{year}-01-01", "us") for year in YEARS)
    return times.where((times >= first) & (times < last)).astype("datetime64[ns]")


def _texts(column: pd.Series) -> pd.Series:
    """Return a column as texts, empty where nothing is given."""
    return column.astype("string").fillna("").str.strip().astype("str")


def _is_given(column: pd.Series, missing: Sequence[float]) -> pd.Series:
    """Return where something stands that is not the sign of a missing number."""
    return column.notna() & ~pd.to_numeric(column, errors="coerce").isin(missing)
