"""Reports: point observations as they are delivered, each in exactly one class."""

from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
import pandas as pd
from jaxtyping import Bool

from koopcast.errors import DataError
from koopcast.sources.table import ROLES
from koopcast.units import conversion

NAMES = {
    **ROLES,
    "error": ("error", "obs_error", "sigma", "uncertainty"),
    "qc": ("qc", "qc_flag", "flag", "quality"),
    "received_at": ("received_at", "received", "arrival"),
}
"""Meaning of a column -> lower-case names under which it is found without `columns`."""
GLOBE = {"latitude": (-90.0, 90.0), "longitude": (-180.0, 360.0)}
"""Where coordinates on the sphere may lie."""


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

    @property
    def text(self) -> str:
        """Return the reason in words."""
        return _WORDS.get(self, self.name.lower().replace("_", " "))


_WORDS = {
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
    Reason.TORN: "a last line without its end: the file was not written whole",
}
TEXTS = ("variable", "station")
"""Columns of text; the others are numbers but for the times."""


def counts(reason: np.ndarray) -> dict[str, int]:
    """Return how many reports are of each class, those that occur."""
    numbers = np.bincount(reason.astype(np.int64), minlength=len(Reason))
    return {item.name.lower(): int(numbers[item]) for item in Reason if numbers[item]}


class Layout:
    """How a delivered table becomes reports in long form.

    Args:
        axes: Names of the space axes, whose coordinates place a report.
        variables: Variables of the grid -> their units.
        columns: Meaning -> column, where the name is not a common one.
        names: Name in a table -> variable of the grid, where they differ.
        units: Variable -> units of its numbers in the tables, where they are not those of the grid.
        variable: Of a table that does not name one.
    """

    def __init__(
        self,
        axes: Sequence[str],
        variables: Mapping[str, str],
        columns: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        variable: str | None = None,
    ) -> None:
        self.axes, self.variables = tuple(axes), dict(variables)
        self._columns, self._names = dict(columns or {}), dict(names or {})
        self._units, self._variable = dict(units or {}), variable

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the columns of numbers."""
        return (*self.axes, "value", "error")

    def reports(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return reports: `time`, the axes, `station`, `variable`, `value`, `error`, `received_at`, `qc`, and
        `reason`.

        Raises:
            DataError: The table has no column of times or of values.
        """
        found = {str(name).strip().lower(): name for name in table.columns}
        base = self._base(table, found)
        names, value = self._column("variable", found), self._column("value", found)
        if value is not None:
            known = None if names is None else table[names].astype("string").str.strip()
            variable = (
                self._variable if known is None else known.map(lambda name: self._names.get(name, name))
            )
            if variable is None:
                variable = next(iter(self.variables)) if len(self.variables) == 1 else ""
            long = base.assign(variable=variable, value=_numbers(table[value]))
        else:
            long = self._from_wide(table, base, found)
        long["variable"] = long["variable"].fillna("").astype(str)
        return self._judged(self._in_grid_units(long))

    def _base(self, table: pd.DataFrame, found: Mapping[str, object]) -> pd.DataFrame:
        time = self._column("time", found)
        if time is None:
            raise DataError(
                f"there is no column of times (columns: {', '.join(map(str, table.columns[:12]))})",
                "name it: `columns: {time: ...}`",
            )
        base = pd.DataFrame({"time": moments(table[time])})
        for axis in self.axes:
            column = self._column(axis, found)
            base[axis] = np.nan if column is None else _numbers(table[column])
        station = self._column("station", found)
        base["station"] = "" if station is None else table[station].astype("string").fillna("").str.strip()
        base["station"] = base["station"].astype(str)
        error = self._column("error", found)
        base["error"] = np.nan if error is None else _numbers(table[error])
        base["has_bad_error"] = False if error is None else table[error].notna() & ~(base["error"] > 0)
        received = self._column("received_at", found)
        base["received_at"] = pd.NaT if received is None else moments(table[received])
        base["received_at"] = base["received_at"].astype("datetime64[ns]")
        flag = self._column("qc", found)
        base["qc"] = "" if flag is None else table[flag].astype("string").fillna("").str.strip().astype(str)
        return base

    def _from_wide(
        self, table: pd.DataFrame, base: pd.DataFrame, found: Mapping[str, object]
    ) -> pd.DataFrame:
        """Return one report a row and variable; a variable without a number is not reported there."""
        own = {variable: name for name, variable in self._names.items()}
        columns = {name: self._column(own.get(name, name), found) for name in self.variables}
        parts = [
            base.assign(variable=name, value=_numbers(table[column]))[table[column].notna().to_numpy()]
            for name, column in columns.items()
            if column is not None
        ]
        if not parts:
            raise DataError(
                f"there is no column of values (columns: {', '.join(map(str, table.columns[:12]))})",
                "name it: `columns: {value: ...}`",
            )
        return pd.concat(parts, ignore_index=True)

    def _column(self, role: str, found: Mapping[str, object]) -> object | None:
        if role in self._columns:
            return found.get(self._columns[role].strip().lower())
        return next((found[name] for name in NAMES.get(role, (role.lower(),)) if name in found), None)

    def _in_grid_units(self, reports: pd.DataFrame) -> pd.DataFrame:
        for variable, units in self._units.items():
            rows = (reports["variable"] == variable).to_numpy()
            change = conversion(units, self.variables[variable], variable)
            reports.loc[rows, "value"] = reports.loc[rows, "value"] * change.scale + change.offset
            reports.loc[rows, "error"] = reports.loc[rows, "error"] * abs(change.scale)
        return reports

    def _judged(self, reports: pd.DataFrame) -> pd.DataFrame:
        """Add `reason`, as far as a report alone tells."""
        place = np.zeros(len(reports), dtype=bool)
        for axis in self.axes:
            low, high = GLOBE.get(axis, (-np.inf, np.inf))
            values = reports[axis].to_numpy()
            with np.errstate(invalid="ignore"):
                place |= ~(np.isfinite(values) & (values >= low) & (values <= high))
        faults = {
            Reason.NO_TIME: reports["time"].isna(),
            Reason.NO_POSITION: place,
            Reason.UNKNOWN_VARIABLE: ~reports["variable"].isin(list(self.variables)),
            Reason.NO_VALUE: ~np.isfinite(reports["value"]),
            Reason.BAD_ERROR: reports["has_bad_error"],
        }
        reports["reason"] = np.int8(Reason.USED)
        for reason, rows in faults.items():
            reject(reports, reason, np.asarray(rows, dtype=bool))
        return reports.drop(columns="has_bad_error")


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
        **{place: np.where(has_station, 0.0, reports[axis]) for place, axis in zip(places, axes, strict=True)}
    )
    key = ["variable", "time", "station", *places]
    ordered = keyed.sort_values(
        [*key, "received_at", *axes, "value", "error"], kind="stable", ignore_index=True
    )
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


def _marked(whole: pd.DataFrame, part: pd.Series) -> Bool[np.ndarray, " report"]:
    """Return a series of some rows as one of all, false elsewhere."""
    result = np.zeros(len(whole), dtype=bool)
    result[part.index[part.to_numpy()]] = True
    return result


def moments(column: pd.Series) -> pd.Series:
    """Return times in UTC without a zone; what is no date is NaT."""
    if pd.api.types.is_numeric_dtype(column):
        return pd.Series(pd.NaT, index=column.index, dtype="datetime64[ns]")
    parsed = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    return parsed.dt.tz_localize(None).astype("datetime64[ns]")


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(np.float64)
