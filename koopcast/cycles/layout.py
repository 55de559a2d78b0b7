"""How a table becomes reports: its columns by their meaning, its numbers in the units of the grid."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool

from koopcast.cycles.moments import believable, moments
from koopcast.cycles.reports import Reason, reject
from koopcast.cycles.stated import in_metres, turned
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
    "height_units": ("height_units", "elevation_units", "altitude_units"),
    "qc": ("qc", "qc_flag", "flag", "quality"),
    "received_at": ("received_at", "received", "arrival"),
}  # fmt: skip
"""Meaning of a column -> lower-case names under which it is found without `columns`."""
DATE, CLOCK = "date", ("hour", "minute")
"""Column of dates, beside one of times of the day, or these."""
DAY = r"\d{4}([-/. ]?)\d{1,2}\1\d{1,2}"
"""A date without a time of the day."""
GLOBE = {"latitude": (-90.0, 90.0), "longitude": (-180.0, 360.0)}
"""Where coordinates on the sphere may lie."""
BLANKS = ("", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "null", "NULL", "None", "<NA>")
"""Texts that are no entry: nothing was given there."""
LARGEST = 1e30
"""Numbers above stand for missing ones, as fill values of netCDF do; errors lie between 1 over it and it."""
HEIGHTS = (-1000.0, 10000.0)
"""Where stations may stand, in m."""


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
    places: Mapping[str, str] = field(default_factory=dict)
    """Units of the axes."""
    needs_height: bool = False
    """Whether a file with heights in unknown units is refused; else these are not known."""

    def reports(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return reports: `time`, the axes, `height`, `station`, `variable`, `value`, `error`, `received_at`,
        `qc`, and `reason`.

        Of a wide table, each number is one report; a cell that is empty or NaN is none. `table.attrs` may
        hold `units`, of columns, as the file states them.

        Raises:
            DataError: The table has no column of times or of values, or places in units that do not fit.
        """
        stated: Mapping[str, str] = table.attrs.get("units", {})
        table = _plain(table)
        base = self._base(table, stated)
        value = self.column("value", table.columns)
        if value is not None:
            long = self._from_long(table, base, value).assign(said=stated.get(value, ""))
        else:
            long = self._from_wide(table, base, stated)
        long["said"] = long["own_units"].where(long["own_units"] != "", long["said"])
        error = self.column("error", table.columns)
        return self._judged(long, "" if error is None else stated.get(error, ""))

    def column(self, role: str, available: Iterable[str]) -> str | None:
        """Return the column that has a meaning, in any case of letters, among those of a table: of `T` and
        `t` the one that is written so.
        """
        names = list(available)
        found = {str(name).strip().lower(): name for name in reversed(names)}
        wanted = self.columns.get(role, role)
        if wanted in names:
            return wanted
        return next((found[name] for name in self.names_of(role) if name in found), None)

    def names_of(self, role: str) -> Sequence[str]:
        """Return the names, in small letters, of a column that has a meaning."""
        if role in self.columns:
            return (self.columns[role].strip().lower(),)
        return NAMES.get(role, (role.lower(),))

    def values(self, available: Iterable[str]) -> dict[str, str]:
        """Return variable -> its column, in a wide table."""
        names = list(available)
        found = {name: self.column(self.own_name(name), names) for name in self.variables}
        return {name: column for name, column in found.items() if column is not None}

    def with_meaning(self, available: Iterable[str]) -> list[str]:
        """Return the columns of a table that are looked at."""
        names = list(available)
        found = {self.column(role, names) for role in (*NAMES, *self.axes, DATE, *CLOCK)}
        found.update(self.values(names).values())
        return [name for name in names if name in found]

    def own_name(self, variable: str) -> str:
        """Return what a variable of the grid is called in tables."""
        return next((name for name, other in self.names.items() if other == variable), variable)

    def _base(self, table: pd.DataFrame, stated: Mapping[str, str]) -> pd.DataFrame:
        columns = {role: self.column(role, table.columns) for role in (*NAMES, *self.axes)}
        base = pd.DataFrame({"time": self._times(table, columns["time"])})
        for name in (*self.axes, "height", "error"):
            column = columns[name]
            base[name] = np.nan if column is None else self._numbers(table[column])
        for name in self.axes:
            said = stated.get(columns[name] or "", "")
            if (units := self._units_of_place(name)) is not None:
                base[name] = turned(base[name], said, units, columns[name] or name)
                if columns[name] is not None and table[columns[name]].dtype == np.float32:
                    # So that π/2 in single precision is no more than 90 degrees.
                    base[name] = base[name].astype(np.float32).astype(np.float64)
        base["height"] = self._heights(table, base["height"], columns, stated)
        own = columns["units"]
        base["own_units"] = "" if own is None else _texts(table[own])
        for name in ("station", "qc"):
            column = columns[name]
            base[name] = pd.Series("" if column is None else _codes(table[column]), base.index, dtype="str")
        error, received = columns["error"], columns["received_at"]
        stands = base["error"].between(1 / LARGEST, LARGEST)
        base["has_bad_error"] = False if error is None else _is_given(table[error], self.missing) & ~stands
        base["received_at"] = pd.NaT if received is None else moments(table[received], self.time_units)
        base["received_at"] = base["received_at"].astype("datetime64[ns]")
        return base

    def _units_of_place(self, axis: str) -> str | None:
        """Return the units of an axis; None where it has none."""
        units = self.places.get(axis, "")
        return units if units not in ("", "1") else "degree" if axis in GLOBE else None

    def _heights(
        self,
        table: pd.DataFrame,
        heights: pd.Series,
        columns: Mapping[str, str | None],
        stated: Mapping[str, str],
    ) -> pd.Series:
        """Return heights in m, NaN for what is none."""
        name, own = columns["height"] or "", columns["height_units"]
        said = pd.Series(stated.get(name, ""), heights.index, dtype="str")
        if own is not None:
            texts = _texts(table[own])
            said = texts.where(texts != "", said)
        elif self.needs_height:
            turned(heights, stated.get(name, ""), "m", name)
        metres = in_metres(heights, said)
        return metres.where(metres.between(*HEIGHTS))

    def _times(self, table: pd.DataFrame, time: str | None) -> pd.Series:
        """Return the times of a column, or of one of dates and others of the time of the day."""
        if time is None:
            raise without_times(table.columns)
        date = self.column(DATE, table.columns)
        if "time" in self.columns or date is None:
            return moments(table[time], self.time_units)
        if time == date:
            return moments(self._with_hours(table, date), self.time_units)
        joint = moments(_texts(table[date]) + "T" + _texts(table[time]))
        return joint.fillna(moments(table[time], self.time_units))

    def _with_hours(self, table: pd.DataFrame, date: str) -> pd.Series:
        """Return a column of dates, with the hours and minutes of others where it has none."""
        names = [self.column(name, table.columns) for name in CLOCK]
        if names[0] is None:
            return table[date]
        clock = [
            _codes(table[name]).str.replace(r"^\d$", r"0\g<0>", regex=True)
            for name in names
            if name is not None
        ]
        dates = _texts(table[date])
        texts = dates + "T" + (clock[0] if len(clock) == 1 else clock[0] + ":" + clock[1])
        return texts.where(dates.str.fullmatch(DAY), dates)

    def _from_long(self, table: pd.DataFrame, base: pd.DataFrame, value: str) -> pd.DataFrame:
        names = self.column("variable", table.columns)
        only = next(iter(self.variables)) if len(self.variables) == 1 else ""
        variable: pd.Series | str = self.variable or only
        if names is not None:
            variable = _codes(table[names]).map(lambda name: self.names.get(name, name)).astype("str")
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
        return numbers.mask(_stands_for_none(column, self.missing))

    def _in_grid_units(self, reports: pd.DataFrame, of_errors: str) -> Bool[np.ndarray, " report"]:
        """Convert values and errors on the spot; return which cannot be.

        Errors are in the units of their values, unless the file states others, which fit.
        """
        is_unknown = np.zeros(len(reports), dtype=bool)
        said, variable = reports["said"], reports["variable"]
        for name, target in self.variables.items():
            rows = (variable == name).to_numpy()
            texts = [self.units[name]] if name in self.units else said[rows].unique()
            own_scale = None if name in self.units else _scale(of_errors, target, name)
            if own_scale is not None:
                reports.loc[rows, "error"] = reports.loc[rows, "error"] * own_scale
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
                    if own_scale is None:
                        reports.loc[own, "error"] = reports.loc[own, "error"] * abs(change.scale)
        return is_unknown

    def _judged(self, reports: pd.DataFrame, units_of_errors: str) -> pd.DataFrame:
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
            Reason.UNKNOWN_UNITS: self._in_grid_units(reports, units_of_errors),
            Reason.NO_VALUE: ~has_value,
            Reason.BAD_ERROR: reports["has_bad_error"],
        }
        reports["reason"] = np.int8(Reason.USED)
        for reason, rows in faults.items():
            reject(reports, reason, np.asarray(rows, dtype=bool))
        return reports.drop(columns=["has_bad_error", "said", "own_units"])


def without_times(columns: Iterable[str]) -> DataError:
    """Return the error of a table with such columns."""
    shown = ", ".join(list(map(str, columns))[:12])
    return DataError(f"there is no column of times (columns: {shown})", "name it: `columns: {time: ...}`")


def _scale(units: str, target: str, name: str) -> float | None:
    """Return the factor from units to those of a variable; None where they are not stated or do not fit."""
    try:
        return abs(conversion(units, target, name).scale) if units else None
    except UnknownUnit:
        return None


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with rows that are counted, one column a name, bytes as texts, blanks as nothing."""
    table = table.loc[:, ~table.columns.duplicated()].reset_index(drop=True)
    for name, kind in table.dtypes.items():
        if kind.kind == "M":
            table[name] = believable(table[name])
        if kind.kind == "O":
            table[name] = table[name].map(_decoded)
        if pd.api.types.is_string_dtype(kind) or kind.kind == "O":
            texts = table[name].astype("string").str.strip()
            table[name] = texts.mask(texts.isin(BLANKS))
    return table


def _decoded(cell: object) -> object:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def _texts(column: pd.Series) -> pd.Series:
    """Return a column as texts, empty where nothing is given."""
    return column.astype("string").fillna("").str.strip().astype("str")


def _codes(column: pd.Series) -> pd.Series:
    """Return a column of names or numbers that stand for something as texts.

    3.0, as a column of whole numbers with a gap holds them, is 3.
    """
    return _texts(column).str.replace(r"^([+-]?\d+)\.0+$", r"\1", regex=True)


def _is_given(column: pd.Series, missing: Sequence[float]) -> pd.Series:
    """Return where something stands that is not the sign of a missing number."""
    return column.notna() & ~_stands_for_none(column, missing)


def _stands_for_none(column: pd.Series, missing: Sequence[float]) -> pd.Series:
    """Return where a number is the sign of a missing one, as exactly as the column can hold it: -99.9 of
    single precision is not that of double precision.
    """
    exact = column.dtype.type if column.dtype.kind == "f" else np.float64
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    slack = 4 * float(np.finfo(exact).eps)
    found = pd.Series(False, column.index)
    for number in missing:
        found |= (numbers - number).abs() <= slack * abs(number)
    return found
