"""What the fields of a window say, wherever they lie: one form, and one digest of it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from koopcast.cycles.archive.manifest import SUFFIXES
from koopcast.stores.arrays import zarrs_pipeline

TIME = "time"
Arrays = dict[str, tuple[tuple[str, ...], np.ndarray]]
"""Name -> dims and values."""


def timed(fields: xr.Dataset) -> xr.Dataset:
    """Return the fields of a window with `time` as the first dim of each variable, also of forecasts."""

    def first(field: xr.DataArray) -> xr.DataArray:
        return field if TIME in field.dims else field.expand_dims({TIME: fields[TIME]})

    return fields.map(first)


def content_digest(fields: xr.Dataset) -> str:
    """Return the digest of names, dims and values of the fields of one window, and of their coordinates.

    The time, which the label says, and attributes do not count.
    """
    return arrays_digest(arrays_of(fields))


def arrays_of(fields: xr.Dataset) -> Arrays:
    """Return all arrays of the fields of one window but the time, with their dims but the time."""
    return {
        str(name): untimed(variable.dims, variable.values)
        for name, variable in fields.variables.items()
        if name != TIME
    }


def arrays_digest(arrays: Arrays) -> str:
    """Return the digest of named arrays with their dims; `time`, of length one, is not among the dims."""
    whole = hashlib.sha256()
    for name, (dims, values) in sorted(arrays.items()):
        if values.dtype.kind in "biufc":
            whole.update(f"{name} {dims} {values.dtype.str}\n".encode())
            whole.update(np.ascontiguousarray(values).tobytes())
        else:
            whole.update(json.dumps([name, dims, [str(item) for item in values.ravel()]]).encode())
    return whole.hexdigest()


def read_arrays(path: Path) -> Arrays:
    """Return what `arrays_of` returns, from the store of the fields of one window.

    A third of the time that it takes to open a dataset: what was written as numbers are those numbers.
    """
    with zarrs_pipeline():
        arrays = dict(zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False).arrays())
        return {
            name: untimed(getattr(array.metadata, "dimension_names", None) or (), np.asarray(array[...]))
            for name, array in arrays.items()
            if name != TIME
        }


def untimed(dims: tuple[Any, ...], values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return dims and values of one window without its time."""
    if TIME not in dims:
        return tuple(map(str, dims)), values
    place = dims.index(TIME)
    return tuple(str(dim) for dim in dims if dim != TIME), values.squeeze(place)


def quantity_of(fields: xr.Dataset, quantity: str) -> xr.Dataset:
    """Return the variables of one quantity, without what follows their names."""
    suffix = SUFFIXES[quantity]
    longer = tuple(other for other in SUFFIXES.values() if len(other) > len(suffix))
    chosen = [
        str(name) for name in fields.data_vars
        if str(name).endswith(suffix) and not str(name).endswith(longer)
    ]  # fmt: skip
    return fields[chosen].rename({name: name.removesuffix(suffix) for name in chosen})


def filled(parts: list[xr.Dataset]) -> list[xr.Dataset]:
    """Return parts along time with the leads and the members that any of them has; NaN where one lacks it."""
    for dim in ("lead", "member"):
        known = sorted({value for part in parts if dim in part.coords for value in part[dim].values.tolist()})
        parts = [
            part.reindex({dim: known}) if dim in part.coords and part.sizes[dim] < len(known) else part
            for part in parts
        ]
    return parts
