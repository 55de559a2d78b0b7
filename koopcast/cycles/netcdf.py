"""Tables of netCDF and zarr stores; netCDF files are opened in a process apart, for the libraries below die
of some damaged ones.
"""

import tempfile
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from koopcast.cycles.apart import Died, ask
from koopcast.cycles.layout import Layout, without_times
from koopcast.cycles.moments import numbered
from koopcast.cycles.reading import demand_size
from koopcast.errors import DataError

UNWRITTEN = {"i2": -32767, "i4": -2147483647, "i8": -9223372036854775806}
"""What netCDF holds of whole numbers that were never written, where a file states no fill value."""


def read_apart(path: Path, layout: Layout) -> pd.DataFrame:
    """Return the table in a netCDF file, its `units` in `attrs`.

    Raises:
        DataError: It is damaged, too large, or not what `layout` looks for.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        try:
            units = ask(path, "netcdf", table=str(table), layout=asdict(layout))
        except Died as error:
            raise DataError(f"'{path.name}' is damaged ({error})", "deliver it again") from error
        result = pd.read_parquet(table)
    result.attrs["units"] = units
    return result


def read(path: str, table: str, layout: Mapping[str, Any]) -> dict[str, str]:
    """Write the table in a netCDF file, and return its units by column."""
    with xr.open_dataset(path, engine="netcdf4", decode_times=False) as dataset:
        result = flat(dataset, Layout(**layout))
    result.to_parquet(table, index=False)
    units: dict[str, str] = result.attrs["units"]
    return units


def flat(dataset: xr.Dataset, layout: Layout) -> pd.DataFrame:
    """Return a row for each value: of points, series, trajectories and profiles, or of a grid; variables of
    other dimensions have rows of their own.

    Ragged arrays, contiguous or indexed, are those of CF 1.8, section 9.3.
    """
    dataset = _without_ragged(dataset)
    names = [str(name) for name in dataset.variables]
    value = layout.column("value", names)
    values = [value] if value is not None else list(layout.values(names).values())
    if not values:
        raise DataError(
            f"there is no variable of values (variables: {', '.join(names[:12])})",
            "name it: `columns: {value: ...}`",
        )
    if layout.column("time", names) is None:
        raise without_times(names)
    groups: dict[frozenset[Hashable], list[str]] = {}
    for name in values:
        groups.setdefault(frozenset(dataset[name].dims), []).append(name)
    parts = [
        _about(dataset.drop_vars([other for other in values if other not in own]), own[0], layout)
        for own in groups.values()
    ]
    rows = sum(np.prod(list(part.sizes.values()), dtype=np.float64) for part in parts)
    most = max(len(part.variables) for part in parts)
    demand_size(int(rows), most, Path(dataset.encoding.get("source", "")))
    tables = [_rows(part, own[0], layout) for part, own in zip(parts, groups.values(), strict=True)]
    result = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
    result.attrs["units"] = {name: text for table in tables for name, text in table.attrs["units"].items()}
    return result


def _about(dataset: xr.Dataset, value: str, layout: Layout) -> xr.Dataset:
    """Return a variable with those of its dimensions, or of some of them, that have a meaning. What has a
    dimension of size 1 beside, such as a time, is said of all of its values.
    """
    dims = set(dataset[value].dims)
    dataset = dataset.isel({dim: 0 for dim, size in dataset.sizes.items() if size == 1 and dim not in dims})
    there = [
        str(name)
        for name, variable in dataset.variables.items()
        if set(variable.dims) <= dims and not _is_above_ground(str(name), dataset[name], layout)
    ]
    wanted = layout.with_meaning(there)
    return dataset.drop_vars([name for name in dataset.variables if name not in wanted])


def _rows(dataset: xr.Dataset, value: str, layout: Layout) -> pd.DataFrame:
    """Return a row for each place along the dimensions of a variable, which are those of the dataset."""
    table, units, dims = {}, {}, list(dataset[value].dims)
    for name in map(str, dataset.variables):
        variable = dataset[name]
        units[name] = str(variable.attrs.get("units", ""))
        others = {dim: dataset.sizes[dim] for dim in dims if dim not in variable.dims}
        whole = variable.reset_coords(drop=True).expand_dims(others).transpose(*dims)
        is_code = any(layout.column(role, [name]) == name for role in ("station", "variable", "qc"))
        numbers = whole.values if is_code else _believed(whole.values, variable)
        table[name] = _column(name, numbers.ravel(), variable.attrs, layout)
    result = pd.DataFrame(table, index=range(int(np.prod(list(dataset.sizes.values())))))
    result.attrs["units"] = units
    return result


def _is_above_ground(name: str, variable: xr.DataArray, layout: Layout) -> bool:
    """Return whether a variable is that of CF above the ground, such as 2 m, and no height of a station."""
    is_height = variable.attrs.get("standard_name") == "height" and layout.column("height", [name]) == name
    return is_height and "height" not in layout.columns and name not in (*layout.axes, *layout.variables)


def _believed(values: np.ndarray, variable: xr.DataArray) -> np.ndarray:
    """Return the numbers of a variable, infinite where they lie beyond `valid_min`, `valid_max` or
    `valid_range`, which are of packed numbers, or fractions of unpacked ones, or were never written (NUG,
    appendix A).
    """
    said, how = variable.attrs, variable.encoding
    if values.dtype.kind not in "iuf":
        return values
    pair = list(np.ravel(said.get("valid_range", [])))
    if len(pair) != 2:
        pair = [said.get("valid_min"), said.get("valid_max")]
    scale, offset = float(how.get("scale_factor", 1)), float(how.get("add_offset", 0))
    packed = np.dtype(how.get("dtype", values.dtype))
    ends = [_number(end) for end in pair]
    if how.get("_Unsigned") == "true":
        ends = [end % 256**packed.itemsize for end in ends]
    is_packed = packed.kind in "iu"
    if not (is_packed and any(np.asarray(end).dtype.kind == "f" for end in pair)):
        ends = [end * scale + offset for end in ends]
    # No limit is NaN, which nothing is beyond. A negative scale turns the two around.
    low, high = sorted(ends if scale > 0 else ends[::-1])
    slack = [abs(scale) / 2 if is_packed else 1e-6 * abs(end) for end in (low, high)]
    outside = (values < low - slack[0]) | (values > high + slack[1])
    unwritten = UNWRITTEN.get(packed.kind + str(packed.itemsize))
    if unwritten is not None and not {"_FillValue", "missing_value"} & set(how):
        outside |= np.abs(values - (unwritten * scale + offset)) <= slack[0]
    return np.where(outside, np.inf, values) if outside.any() else values


def _number(limit: object) -> float:
    number = np.asarray(limit).ravel()
    return float(number[0]) if number.size == 1 and number.dtype.kind in "iuf" else np.nan


def _column(name: str, numbers: np.ndarray, attributes: Mapping[str, Any], layout: Layout) -> pd.Series:
    """Return a variable as a column, times as dates."""
    if numbers.dtype.kind == "S":
        return pd.Series(np.char.decode(numbers, "utf-8", "replace"))
    roles = [role for role in ("time", "received_at") if layout.column(role, [name]) == name]
    if not roles or numbers.dtype.kind not in "iuf":
        return pd.Series(numbers)
    units = layout.time_units or str(attributes.get("units", ""))
    return numbered(pd.Series(numbers), units, str(attributes.get("calendar", "standard")).lower())


def _without_ragged(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with what is said of whole series or trajectories said of each of their values; of a
    value whose owner was never written nothing is.
    """
    for name in map(str, list(dataset.variables)):
        variable = dataset[name]
        counted = variable.attrs.get("sample_dimension")
        owner = variable.attrs.get("instance_dimension")
        if counted is not None:
            sizes = np.nan_to_num(variable.values).clip(0).astype(np.int64)
            place, sample = np.repeat(np.arange(len(sizes)), sizes), str(counted)
            instance = str(variable.dims[0])
        elif owner is not None:
            place, sample = np.nan_to_num(variable.values, nan=-1).astype(np.int64), str(variable.dims[0])
            instance = str(owner)
        else:
            continue
        last = dataset.sizes.get(instance, 0) - 1
        if len(place) != dataset.sizes.get(sample, -1) or place.max(initial=0) > max(0, last):
            raise DataError(f"'{name}' does not fit the dimension '{sample}'", "repair the file")
        rest = dataset.drop_vars(name)
        about = [other for other in rest.variables if instance in rest[other].dims]
        is_owned = xr.DataArray(place >= 0, dims=sample)
        spread = rest[about].reset_coords().isel({instance: xr.DataArray(place.clip(0), dims=sample)})
        if not is_owned.all():
            for other in about:
                whole = spread[other] if spread[other].dtype.kind in "iuf" else spread[other].astype(object)
                spread[other] = whole.where(is_owned)
                spread[other].encoding = rest[other].encoding
        dataset = rest.drop_vars(about).merge(spread)
    return dataset
