"""Coordinates of space axes: put in order, wrapped around the globe, and cut to closed ranges."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from koopcast.errors import DataError, EmptySelection
from koopcast.split import show_time
from koopcast.times import calendar_of, closed_range


def is_global(longitudes: Float[np.ndarray, " longitude"]) -> bool:
    """Return whether equally spaced longitudes close the circle."""
    if len(longitudes) < 2:
        return False
    steps = np.diff(longitudes)
    is_regular = np.allclose(steps, steps.mean(), rtol=1e-2, atol=0)
    return bool(is_regular and abs(len(longitudes) * steps.mean() - 360) < 0.05 * steps.mean())


def tidied(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with increasing space coordinates and no longitude twice.

    Decreasing axes are turned round, longitudes that jump (0..180, -178..-2) are rolled to where they
    increase, and columns that repeat the first a turn later are dropped.

    Raises:
        DataError: A coordinate neither increases nor decreases.
    """
    for axis in ("z", "latitude", "y", "longitude", "x"):
        if axis not in dataset.dims or axis not in dataset.coords or dataset.sizes[axis] < 2:
            continue
        values = dataset[axis].values.astype(np.float64)
        if not np.isfinite(values).all():
            raise DataError(f"the coordinate '{axis}' holds missing values", "repair the file")
        if (np.diff(values) < 0).all():
            dataset, values = dataset.isel({axis: slice(None, None, -1)}), values[::-1]
        if axis == "longitude":
            dataset = _unwrapped(dataset, values)
        elif not (np.diff(values) > 0).all():
            raise DataError(f"the coordinate '{axis}' neither increases nor decreases", "sort the file")
    return dataset


def select_range(dataset: xr.Dataset, axis: str, first: float | str, last: float | str) -> xr.Dataset:
    """Return the part of an axis from `first` to `last`, both included; longitudes wrap, dates may be
    partial.

    Raises:
        EmptySelection: Nothing lies there, or the axis does not exist.
    """
    if axis not in dataset.dims or axis not in dataset.coords:
        known = ", ".join(str(dim) for dim in dataset.dims if dim in dataset.coords)
        raise EmptySelection(f"`select` names '{axis}', which is no axis with coordinates", f"axes: {known}")
    values = dataset[axis].values
    if axis == "time":
        found = dataset.isel(time=closed_range(values, first, last))
        return _nonempty(found, axis, f"{first}..{last}", values)
    low, high = _number(axis, first), _number(axis, last)
    tolerance = 1e-4 * float(np.ptp(values)) / max(1, len(values) - 1)
    if axis == "longitude":
        # Whole turns bring every meridian to where the range begins, without rounding.
        east = values + 360 * np.ceil((low - tolerance - values) / 360)
        index = np.argsort(east, kind="stable")
        index = index[east[index] <= high + tolerance]
        found = dataset.isel(longitude=index)
        found = found.assign_coords(longitude=("longitude", east[index], dataset[axis].attrs))
        return _nonempty(found, axis, f"{low:g}..{high:g}", values)
    inside = np.flatnonzero((values >= low - tolerance) & (values <= high + tolerance))
    return _nonempty(dataset.isel({axis: inside}), axis, f"{low:g}..{high:g}", values)


def _unwrapped(dataset: xr.Dataset, values: Float[np.ndarray, " longitude"]) -> xr.Dataset:
    if not (np.diff(values) > 0).all():
        dataset = dataset.assign_coords(longitude=("longitude", values % 360, dataset["longitude"].attrs))
        dataset = dataset.sortby("longitude")
        values = dataset["longitude"].values
    turn = values - values[0] < 360 - 0.05 * float(np.min(np.diff(np.unique(values))))
    dataset = dataset.isel(longitude=np.flatnonzero(turn))
    if (np.diff(dataset["longitude"].values) <= 0).any():
        raise DataError("the coordinate 'longitude' holds a meridian twice", "repair the file")
    return dataset


def _number(axis: str, value: float | str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise EmptySelection(f"`select` gives '{value}' for '{axis}'", "give numbers in its units") from error


def _nonempty(dataset: xr.Dataset, axis: str, asked: str, values: np.ndarray) -> xr.Dataset:
    if dataset.sizes[axis]:
        return dataset
    ends = (
        [show_time(values[0]), show_time(values[-1])]
        if calendar_of(values)
        else [f"{v:g}" for v in values[[0, -1]]]
    )
    raise EmptySelection(
        f"`select` asks for {axis} {asked} and holds nothing of {ends[0]}..{ends[1]}", "widen it"
    )
