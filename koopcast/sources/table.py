"""Tables of point series, CSV or Parquet, in long form (a row a value) or wide form (a column a variable)."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import field_validator

from koopcast.errors import DataError, EmptySelection, InvalidInput, MissingFile
from koopcast.sources.base import SourceSpec, TimeOverride
from koopcast.sources.clock import decode_time
from koopcast.times import parse_duration

ROLES = {
    "time": ("time", "datetime", "timestamp", "time (utc)", "valid_time", "date"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long", "lng"),
    "station": ("station", "station_id", "site", "site_id", "id", "wmo"),
    "variable": ("variable", "parameter", "quantity"),
    "value": ("value", "observation", "obs_value"),
}
"""Meaning of a column -> lower-case names under which it is found without `columns`."""


class TableSpec(SourceSpec):
    """Series at points, from tables; a point is a station, a position, or the whole table."""

    kind: Literal["table"] = "table"
    columns: dict[str, str] = {}
    """Meaning -> column: `time`, `latitude`, `longitude`, `station`, `variable`, `value`, or the name of a
    variable (`{temperature: "temperature (celsius)"}`). Common names are found without."""
    time: TimeOverride | None = None
    """Units of a numeric time column; dates are ISO 8601, UTC where they state no zone."""
    duplicates: Literal["error", "first", "last", "mean"] = "error"
    """What to do with rows of one time and point that disagree. Rows that agree are one row."""
    every: str | None = None
    """Average over intervals of this length (`PT1H`, `P1D`, `P1M`), each stamped with its beginning;
    intervals are half open, counted from midnight (months from the first), and empty ones are missing.
    Default: times as they are."""

    reference = "Wickham 2014 (long and wide form)"

    @field_validator("every")
    @classmethod
    def _is_one_unit(cls, every: str | None) -> str | None:
        try:
            duration = parse_duration(every or "P1D")
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        if (duration.months > 0) == (duration.seconds > 0) or min(duration.months, duration.seconds) < 0:
            raise ValueError("`every` is a positive number of months or years, or of days and shorter")
        return every

    def open(self, variables: Sequence[str]) -> xr.Dataset:
        """Return the series as fields of points."""
        files = self.files()
        table = self._long_form(pd.concat([read_table(file) for file in files], ignore_index=True), variables)
        rejected = self._rejections(table)
        table = table[~np.logical_or.reduce([*rejected.values(), np.zeros(len(table), dtype=bool)])]
        if table.empty:
            counts = ", ".join(f"{reason}: {int(rows.sum())}" for reason, rows in rejected.items())
            raise EmptySelection(
                f"no row of the table can be used ({counts})", "check `columns` and `missing`"
            )
        grid = self._gridded(self._unique(table), variables)
        grid.attrs["licence"] = self.terms({})
        grid.attrs["source_files"] = ", ".join(file.name for file in files[:20])
        grid.attrs["rejected_rows"] = ", ".join(
            f"{reason}: {int(rows.sum())}" for reason, rows in rejected.items()
        )
        return grid

    def column(self, role: str, table: pd.DataFrame) -> str | None:
        """Return the column that plays a role, by option or by common name.

        Raises:
            DataError: The option names a column that is not there.
        """
        if role in self.columns:
            if self.columns[role] not in table.columns:
                near = get_close_matches(self.columns[role], list(map(str, table.columns)), n=1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise DataError(
                    f"the table has no column '{self.columns[role]}'",
                    f"{hint}it has {', '.join(map(str, table.columns[:12]))}",
                )
            return self.columns[role]
        lower = {str(name).strip().lower(): str(name) for name in table.columns}
        return next((lower[name] for name in ROLES.get(role, (role.lower(),)) if name in lower), None)

    def _long_form(self, table: pd.DataFrame, variables: Sequence[str]) -> pd.DataFrame:
        """Return columns time, latitude, longitude, station, variable, value, one row a value."""
        time = self.column("time", table)
        if time is None:
            raise DataError("the table has no time column", "name it: `columns: {time: ...}`")
        base = pd.DataFrame({"time": self._times(table[time])})
        for role, dtype in (("latitude", float), ("longitude", float), ("station", str)):
            name = self.column(role, table)
            if name is not None:
                base[role] = _numbers(table[name]) if dtype is float else table[name].astype(str)
        names, values = self.column("variable", table), self.column("value", table)
        if names is not None and values is not None:
            rows = base.assign(variable=table[names].astype(str), value=_numbers(table[values]))
            _require(variables, sorted(rows["variable"].unique()))
            return rows[rows["variable"].isin(list(variables))]
        found = {variable: self.column(variable, table) for variable in variables}
        _require([name for name in variables if found[name] is None], list(map(str, table.columns)))
        wide = [
            base.assign(variable=name, value=_numbers(table[column]))
            for name, column in found.items()
            if column
        ]
        return pd.concat(wide, ignore_index=True)

    def _times(self, column: pd.Series) -> pd.Series:
        if not pd.api.types.is_numeric_dtype(column):
            parsed = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
            return parsed.dt.tz_localize(None).astype("datetime64[ns]")
        units = self.time.units if self.time is not None else None
        if units is None:
            raise DataError(
                "the time column holds numbers",
                "state what they count: `time: {units: days since 1970-01-01}`",
            )
        if "since" not in units:
            return column.astype(float)
        stamps = np.sort(column.dropna().unique())
        axis = xr.Dataset(coords={"time": ("time", stamps)})
        decoded = pd.Series(decode_time(axis, self.time)["time"].values, index=stamps)
        return column.map(decoded)

    def _rejections(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return which rows cannot be used, by reason."""
        reasons = {
            "no time": table["time"].isna(),
            "no value": ~np.isfinite(table["value"]) | table["value"].isin(self.missing),
        }
        if "latitude" in table and "longitude" in table:
            inside = table["latitude"].between(-90, 90) & table["longitude"].between(-180, 360)
            reasons["no position on the globe"] = ~inside
        return {name: np.asarray(rows, dtype=bool) for name, rows in reasons.items()}

    def _unique(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return one row a time, point and variable, with the column `point`."""
        if "station" in table:
            key: np.ndarray = pd.factorize(table["station"], sort=True)[0]
        elif "latitude" in table and "longitude" in table:
            key = table.groupby(["latitude", "longitude"]).ngroup().to_numpy()
        else:
            key = np.zeros(len(table), dtype=np.int64)
        rows = table.assign(point=key).drop_duplicates(["time", "point", "variable", "value"])
        same = ["time", "point", "variable"]
        repeated = rows.duplicated(same)
        if not repeated.any():
            return rows
        if self.duplicates == "error":
            first = rows[repeated].iloc[0]
            raise DataError(
                f"{int(repeated.sum())} rows repeat a time and point with another value, first "
                f"{first['variable']} at {first['time']}",
                "choose `duplicates: first`, `last` or `mean`",
            )
        if self.duplicates == "mean":
            return rows.assign(value=rows.groupby(same)["value"].transform("mean")).drop_duplicates(same)
        return rows.drop_duplicates(same, keep=self.duplicates)

    def _gridded(self, rows: pd.DataFrame, variables: Sequence[str]) -> xr.Dataset:
        places = rows.drop_duplicates("point").set_index("point").sort_index()
        if self.every is not None:
            rows = rows.assign(time=interval_start(rows["time"], self.every))
        means = rows.groupby(["time", "point", "variable"])["value"].mean()
        times = np.sort(rows["time"].unique())
        if self.every is not None:
            times = _all_intervals(times, self.every)
        fields = {}
        for name in variables:
            series = (
                means.xs(name, level="variable").unstack("point").reindex(index=times, columns=places.index)
            )
            units = {"units": self.units[name]} if name in self.units else {}
            fields[name] = (("time", "point"), series.to_numpy(dtype=np.float64), units)
        coords = {
            axis: ("point", places[axis].to_numpy(), {"units": units, "standard_name": axis})
            for axis, units in (("latitude", "degrees_north"), ("longitude", "degrees_east"))
            if axis in places
        }
        dataset = xr.Dataset(fields, coords={"time": ("time", times), **coords})
        if "station" in places:
            dataset.attrs["stations"] = ", ".join(places["station"])
        calendar = (
            TimeOverride(units=self.time.units) if self.time is not None and times.dtype.kind == "f" else None
        )
        return decode_time(dataset, calendar)


def read_table(file: Path) -> pd.DataFrame:
    """Return a CSV (also compressed) or Parquet file.

    Raises:
        MissingFile: It is neither.
    """
    try:
        if file.suffix in (".parquet", ".pq"):
            return pd.read_parquet(file)
        return pd.read_csv(file, comment="#", skipinitialspace=True, low_memory=False)
    except (OSError, ValueError) as error:
        raise MissingFile(f"'{file}' cannot be read as CSV or Parquet ({error})", "check the file") from error


def interval_start(times: pd.Series, every: str) -> pd.Series:
    """Return the beginning of the interval that holds each time.

    Raises:
        DataError: The times are not dates.
    """
    if times.dtype.kind != "M":
        raise DataError(
            "`every` needs dates, but the times are numbers", "state `time: {units: days since ...}`"
        )
    duration = parse_duration(every)
    if duration.months:
        months = (times.dt.year * 12 + times.dt.month - 1) // duration.months * duration.months
        starts = pd.to_datetime({"year": months // 12, "month": months % 12 + 1, "day": 1})
        return starts.astype("datetime64[ns]")
    floored: pd.Series = times.dt.floor(pd.Timedelta(seconds=duration.seconds))
    return floored


def _all_intervals(times: np.ndarray, every: str) -> np.ndarray:
    duration = parse_duration(every)
    step = (
        pd.DateOffset(months=duration.months) if duration.months else pd.Timedelta(seconds=duration.seconds)
    )
    return pd.date_range(times[0], times[-1], freq=step).to_numpy().astype("datetime64[ns]")


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(float)


def _require(names: Sequence[str], known: Sequence[str]) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        near = get_close_matches(missing[0], known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise DataError(
            f"the table holds no variable '{missing[0]}'", f"{hint}it holds {', '.join(known[:12])}"
        )
