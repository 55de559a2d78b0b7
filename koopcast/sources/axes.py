"""Which dimension of a file is which axis: by override, by CF attributes, by common names, or not at all."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

import cf_xarray  # noqa: F401  (adds the accessor `.cf`)
import numpy as np
import xarray as xr

from koopcast.errors import DataError, ShapeMismatch

AxisName = Literal["sample", "time", "z", "y", "x", "latitude", "longitude", "point"]
ORDER: tuple[AxisName, ...] = ("sample", "time", "z", "latitude", "y", "longitude", "x", "point")
"""Order of dimensions in every dataset that leaves a source."""
COMMON_NAMES: Mapping[str, AxisName] = {
    "ensemble": "sample", "member": "sample", "number": "sample", "realization": "sample", "sample": "sample",
    "date": "time", "t": "time", "tdim": "time", "time": "time", "time_counter": "time", "valid_time": "time",
    "depth": "z", "height": "z", "lev": "z", "level": "z", "pressure": "z", "plev": "z", "z": "z",
    "j": "y", "nj": "y", "ny": "y", "y": "y", "rlat": "y", "south_north": "y",
    "i": "x", "ni": "x", "nx": "x", "x": "x", "rlon": "x", "west_east": "x",
    "lat": "latitude", "latitude": "latitude", "nav_lat": "latitude",
    "lon": "longitude", "longitude": "longitude", "nav_lon": "longitude",
    "ncells": "point", "point": "point", "points": "point", "site": "point", "station": "point",
    "location": "point",
}  # fmt: skip
"""Lower-case name of a dimension -> axis."""
_CF_KEYS: tuple[tuple[str, AxisName], ...] = (
    ("time", "time"), ("latitude", "latitude"), ("longitude", "longitude"), ("vertical", "z"),
    ("T", "time"), ("Z", "z"), ("Y", "y"), ("X", "x"),
)  # fmt: skip


def arrange(dataset: xr.Dataset, variables: Sequence[str], coords: Mapping[AxisName, str]) -> xr.Dataset:
    """Return the variables with dimensions and coordinates renamed to the axes they are, in the fixed order.

    Samples may have no time: one field each. Dimensions of size 1 that mean nothing are dropped; a series
    without a space axis becomes one point.

    Args:
        dataset: As in the file.
        variables: To keep.
        coords: Axis -> name of the dimension or coordinate in the file; goes before any detection.

    Raises:
        DataError: A variable or an override is not there, or an axis cannot be told.
        ShapeMismatch: The variables do not share their axes.
    """
    _require(variables, dataset.data_vars, "variable")
    _require(list(coords.values()), {**dataset.sizes, **dataset.variables}, "coordinate")
    kept = _drop_meaningless(dataset[list(variables)], dataset, coords)
    dims = {name: kept[name].dims for name in variables}
    if len({frozenset(found) for found in dims.values()}) > 1:
        shapes = ", ".join(f"{name} ({', '.join(map(str, found))})" for name, found in dims.items())
        raise ShapeMismatch(
            f"the variables do not share their axes: {shapes}", "ingest them in steps of their own"
        )
    axes = {dim: _axis_of(dim, dataset, coords) for dim in dims[variables[0]]}
    _refuse_double(axes)
    if not {"time", "sample"} & set(axes.values()):
        raise DataError(
            f"variable '{variables[0]}' has no time axis (dimensions: {', '.join(map(str, axes))})",
            "name it: `coords: {time: ...}`, or that of samples: `coords: {sample: ...}`",
        )
    return _renamed(kept, dataset, axes, coords)


def _renamed(
    kept: xr.Dataset, dataset: xr.Dataset, axes: Mapping[Hashable, AxisName], coords: Mapping[AxisName, str]
) -> xr.Dataset:
    result = kept.drop_vars(list(kept.coords)).rename(axes)
    for dim, axis in axes.items():
        source = coords.get(axis, dim)
        values = dataset.variables.get(source if source in dataset.variables else dim)
        if values is not None and values.dims == (dim,):
            result = result.assign_coords({axis: (axis, values.data, values.attrs)})
        if axis == "point":
            result = result.assign_coords(dict(_positions(dataset, dim, coords)))
    space = [axis for axis in ORDER if axis in result.dims and axis not in ("sample", "time")]
    if not space:
        result, space = result.expand_dims("point", axis=-1), ["point"]
    return result.transpose(*(axis for axis in ("sample", "time") if axis in result.dims), *space)


def _drop_meaningless(kept: xr.Dataset, dataset: xr.Dataset, coords: Mapping[AxisName, str]) -> xr.Dataset:
    single = [
        dim
        for dim, size in kept.sizes.items()
        if size == 1
        and _guess(dim, dataset, coords) not in ("time", "latitude", "longitude", "y", "x", "point")
    ]
    return kept.squeeze(single, drop=True)


def _axis_of(dim: Hashable, dataset: xr.Dataset, coords: Mapping[AxisName, str]) -> AxisName:
    axis = _guess(dim, dataset, coords)
    if axis is None:
        raise DataError(
            f"dimension '{dim}' ({dataset.sizes[dim]} long) has no attributes or name that tell its axis",
            f"name it: `coords: {{y: {dim}}}` (axes: {', '.join(ORDER)})",
        )
    return axis


def _guess(dim: Hashable, dataset: xr.Dataset, coords: Mapping[AxisName, str]) -> AxisName | None:
    for axis, name in coords.items():
        if name == dim or (name in dataset.variables and dataset.variables[name].dims == (dim,)):
            on_point = axis in ("latitude", "longitude") and "point" in coords
            return "point" if on_point else axis
    found = set(_by_attributes(dim, dataset))
    if {"latitude", "longitude"} <= found:
        return "point"
    named = COMMON_NAMES.get(str(dim).lower())
    first = next((axis for _, axis in _CF_KEYS if axis in found), None)
    return first or named


def _by_attributes(dim: Hashable, dataset: xr.Dataset) -> Iterator[AxisName]:
    """Yield the axes that CF attributes give to coordinates which lie along `dim` alone."""
    known = {**dataset.cf.coordinates, **dataset.cf.axes}
    for key, axis in _CF_KEYS:
        for name in known.get(key, []):
            if dataset[name].dims == (dim,):
                yield axis


def _positions(
    dataset: xr.Dataset, dim: Hashable, coords: Mapping[AxisName, str]
) -> Iterator[tuple[str, tuple[str, np.ndarray, dict[Hashable, object]]]]:
    """Yield latitude and longitude of points."""
    axes: tuple[AxisName, ...] = ("latitude", "longitude")
    for axis in axes:
        candidates = [coords[axis]] if axis in coords else dataset.cf.coordinates.get(axis, [])
        for name in candidates:
            if dataset[name].dims == (dim,):
                yield axis, ("point", dataset[name].values, dataset[name].attrs)


def _refuse_double(axes: Mapping[Hashable, AxisName]) -> None:
    for dim, axis in axes.items():
        rivals = [str(other) for other, claimed in axes.items() if claimed == axis]
        if len(rivals) > 1:
            raise DataError(
                f"dimensions {' and '.join(rivals)} both look like '{axis}'",
                f"name one: `coords: {{{axis}: {dim}}}`",
            )


def _require(names: Sequence[str], known: Mapping[Hashable, object], what: str) -> None:
    for name in names:
        if name not in known:
            options = sorted(map(str, known))
            near = get_close_matches(name, options, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise DataError(f"the file holds no {what} '{name}'", f"{hint}it holds {', '.join(options[:12])}")
