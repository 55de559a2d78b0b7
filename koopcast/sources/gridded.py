"""What readers of gridded files share: axes, times, missing values, several files along time."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr

from koopcast.errors import DataError, ShapeMismatch
from koopcast.sources.axes import AxisName, arrange
from koopcast.sources.base import SourceSpec, TimeOverride
from koopcast.sources.clock import decode_time
from koopcast.split import show_time

BLOCK_BYTES = 32 * 2**20
"""Size of a dask block: what one worker holds of one variable at a time."""


class GriddedSourceSpec(SourceSpec):
    """Options of readers of fields on a grid."""

    group: str | None = None
    """Group inside each file; default: the root."""
    coords: dict[AxisName, str] = {}
    """Axis -> dimension or coordinate of the file, where its attributes do not tell: `{time: TIME2, y:
    dim0}`."""
    time: TimeOverride | None = None
    """Meaning of the time axis, where the file does not say or says it wrong."""

    @abstractmethod
    def open_file(self, file: Path) -> xr.Dataset:
        """Return the raw content of one file, lazily: packed values decoded, times not.

        Raises:
            MissingFile: It cannot be read.
        """

    def open(self, variables: Sequence[str]) -> xr.Dataset:
        """Return the variables of all files, joined along time."""
        files = self.files()
        parts = [self._arranged(file, variables) for file in files]
        dataset = along_time(parts, [file.name for file in files])
        if self.time is not None and self.time.start is not None:
            dataset = decode_time(dataset, self.time)
        dataset.attrs["licence"] = self.terms(dataset.attrs)
        dataset.attrs["source_files"] = ", ".join(file.name for file in files[:20])
        return dataset

    def _arranged(self, file: Path, variables: Sequence[str]) -> xr.Dataset:
        raw = self.open_file(file)
        attributes = {name: raw[name].attrs for name in variables if name in raw}
        dataset = arrange(raw, variables, self.coords)
        if self.time is None or self.time.start is None:
            dataset = decode_time(dataset, self.time)
        for name in variables:
            dataset[name] = _without(_in_blocks(dataset[name]), self.missing)
            units = {"units": self.units[name]} if name in self.units else {}
            dataset[name].attrs = {**attributes[name], **units}
        dataset.attrs = {key: value for key, value in raw.attrs.items() if isinstance(value, str)}
        return dataset.drop_encoding()


def along_time(parts: Sequence[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """Join files along time, in the order of their times; samples without time along `sample`.

    Raises:
        DataError: Two files hold the same time, or their times are of different kinds.
        ShapeMismatch: Their space axes differ.
    """
    if len(parts) == 1:
        return parts[0]
    if "time" not in parts[0].dims:
        return xr.concat(parts, "sample", join="exact", combine_attrs="override")
    if "time" not in parts[0].coords:
        return _joined(parts, names)
    if (
        len({(part["time"].dtype.kind, getattr(part["time"].values[0], "calendar", "")) for part in parts})
        > 1
    ):
        raise DataError("the files have times of different calendars", "state one: `time: {units, calendar}`")
    order = sorted(range(len(parts)), key=lambda index: parts[index]["time"].values[0])
    for before, after in pairwise(order):
        end, begin = parts[before]["time"].values[-1], parts[after]["time"].values[0]
        if begin <= end:
            raise DataError(
                f"files overlap in time: {names[before]} ends at {show_time(end)}, {names[after]} begins at "
                f"{show_time(begin)}",
                "leave one of them out",
            )
    return _joined([parts[index] for index in order], [names[index] for index in order])


def _joined(parts: Sequence[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    for part, name in zip(parts[1:], names[1:], strict=True):
        for axis in (dim for dim in parts[0].dims if dim != "time"):
            one, other = parts[0].get(axis), part.get(axis)
            is_equal_size = parts[0].sizes[axis] == part.sizes.get(axis)
            if not is_equal_size or (one is not None and other is not None and not np.allclose(one, other)):
                raise ShapeMismatch(
                    f"files {names[0]} and {name} differ along '{axis}'", "ingest them separately"
                )
    return xr.concat(
        parts, dim="time", join="override", coords="minimal", data_vars="minimal", compat="override",
        combine_attrs="override",
    )  # fmt: skip


def _without(array: xr.DataArray, missing: Sequence[float]) -> xr.DataArray:
    return array.where(~array.isin(np.array(missing, dtype=array.dtype))) if missing else array


def _in_blocks(array: xr.DataArray) -> xr.DataArray:
    along = "time" if "time" in array.dims else "sample"
    record = array.nbytes // max(1, array.sizes[along])
    return array.chunk({along: max(1, BLOCK_BYTES // max(1, record))})
