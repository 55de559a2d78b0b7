"""Readers of delivered files: each gives a table, and how many records no table can hold."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import xarray as xr

from koopcast.cycles.bufr import read_apart as read_bufr
from koopcast.cycles.layout import Layout
from koopcast.cycles.netcdf import flat
from koopcast.cycles.netcdf import read_apart as read_netcdf
from koopcast.cycles.odb import read_odb
from koopcast.cycles.reading import MOST_BYTES, Read, demand_size, imported
from koopcast.cycles.texts import read_text
from koopcast.errors import DataError

DATE = ("year", "month", "day", "hour", "minute", "second")
"""Elements of the time of a BUFR report."""


def read_delivery(path: Path, layout: Layout) -> Read:
    """Return the table in a file, by the end of its name, and the records that no table can hold, by class.

    `attrs` of the table may hold `units`: column -> units, where the file states them.

    Raises:
        DataError: It is too large, damaged, or of no known format; or a package that reads it is missing.
    """
    reader = READERS.get(path.suffix.lower())
    if path.is_dir() and reader is not _zarr:
        raise DataError(f"'{path.name}' is a folder", f"name the files in it: `{path.name}/*`")
    if reader is None:
        raise DataError(f"'{path.name}' has no known format", f"use one of {', '.join(READERS)}")
    if not path.is_dir() and not path.is_file():
        raise DataError(f"'{path.name}' is no file", "remove it")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise DataError(f"'{path.name}' is larger than {MOST_BYTES} bytes", "split it")
    return reader(path, layout)


def _parquet(path: Path, layout: Layout) -> Read:
    held = pyarrow.parquet.read_metadata(path)
    demand_size(held.num_rows, held.num_columns, path)
    # The content alone: a folder named station=A is no column, and an index of pandas is one.
    with pyarrow.parquet.ParquetFile(path) as file:
        table = file.read()
    table.validate(full=True)  # texts that are no UTF-8, say, would fail when they are used
    return table.to_pandas(ignore_metadata=True), {}


def _bufr(path: Path, layout: Layout) -> Read:
    """Return the elements of BUFR messages that `columns` and `variables` name, a row a report.

    A message that cannot be decoded counts as one malformed record, and what follows the last whole one as
    a torn one.
    """
    imported("pdbufr", "bufr")
    elements = [
        "latitude", "longitude", "data_datetime", "typical_datetime", "WMO_station_id",
        "heightOfStationGroundAboveMeanSeaLevel", "heightOfStation", *DATE,
        *layout.columns.values(), *map(layout.own_name, layout.variables),
    ]  # fmt: skip
    table, lost = read_bufr(path, elements)
    if "typical_datetime" in table:
        own = table["data_datetime"] if "data_datetime" in table else pd.Series(pd.NaT, table.index)
        parts = table[[name for name in DATE if name in table]]
        # The time of the message is that of reports without one, not of those with one that is impossible.
        lacks = parts.isna().any(axis=1) | ("year" not in parts)
        table["data_datetime"] = own.fillna(table.pop("typical_datetime").where(lacks))
    return table, lost


def _netcdf(path: Path, layout: Layout) -> Read:
    return read_netcdf(path, layout), {}


def _zarr(path: Path, layout: Layout) -> Read:
    with xr.open_zarr(path, consolidated=False, decode_times=False) as dataset:
        return flat(dataset, layout), {}


READERS: Mapping[str, Callable[[Path, Layout], Read]] = {
    ".csv": read_text, ".txt": read_text, ".tsv": read_text, ".gz": read_text, ".parquet": _parquet,
    ".pq": _parquet, ".nc": _netcdf, ".zarr": _zarr, ".odb": read_odb, ".bufr": _bufr, ".bfr": _bufr,
}  # fmt: skip
"""End of a file's name -> reader."""
