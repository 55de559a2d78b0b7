"""Tables in ODB-2, each size found to be possible before it is believed."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from koopcast.cycles.layout import Layout
from koopcast.cycles.reading import Read, demand_size, imported
from koopcast.errors import DataError


def read_odb(path: Path, layout: Layout) -> Read:
    """Return an ODB-2 table: `lat@hdr` as `lat`, the integers `date` and `time` as times."""
    parts = [frame.dataframe() for frame in _odb_frames(path)]
    if not parts:
        raise DataError(f"'{path.name}' holds no table", "check the file")
    table = pd.concat(parts, ignore_index=True)
    bare = [str(name).partition("@")[0] for name in table.columns]
    table.columns = [
        short if bare.count(short) == 1 or str(name).endswith(("@hdr", "@body")) else str(name)
        for short, name in zip(bare, table.columns, strict=True)
    ]
    table = table.loc[:, ~table.columns.duplicated()]
    if {"date", "time"} <= set(table.columns):
        date, clock = (pd.to_numeric(table[name], errors="coerce") for name in ("date", "time"))
        texts = [
            column.astype("Int64").astype("string").str.zfill(width)
            for column, width in ((date, 8), (clock, 6))
        ]
        table = table.assign(time=texts[0] + "T" + texts[1]).drop(columns="date")
    return table, {}


class _Exact(io.BytesIO):
    """Bytes of which no more can be had than there are: what a damaged length asks for is an error."""

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if size is None or size < 0 or len(found) < size:
            raise EOFError("the file is cut short")
        return found


def _odb_frames(path: Path) -> list[Any]:
    """Return the frames of an ODB-2 file, the size of each found to be possible.

    Raises:
        DataError: One is damaged, or larger than what is read.
    """
    pyodc: Any = imported("pyodc.frame", "odb")
    source, frames, rows = _Exact(path.read_bytes()), [], 0
    end = len(source.getbuffer())
    while (begin := source.tell()) < end:
        try:
            frame = pyodc.Frame(source)
            frame.seekToEnd()
        except Exception as error:
            raise DataError(f"'{path.name}' is damaged ({error})", "deliver it again") from error
        # A row has two bytes at least, a column as many.
        size = source.tell() - begin
        if not 0 < size <= end - begin or 2 * max(frame.nrows, frame.ncolumns) > size:
            raise DataError(f"'{path.name}' is damaged or cut short", "deliver it again")
        _read_codecs(frame, max(1000, size // 12), path)
        frame.seekToEnd()
        rows += frame.nrows
        demand_size(rows, frame.ncolumns, path)
        frames.append(frame)
    return frames


def _read_codecs(frame: Any, most: int, path: Path) -> None:
    """Read how the columns of a frame are packed, with no count in there above `most`; the frame keeps it."""
    stream = frame._stream
    stream.readInt32 = partial(_count, stream.readInt32, most)
    try:
        list(frame._column_codecs)
    except Exception as error:
        raise DataError(f"'{path.name}' is damaged ({error})", "deliver it again") from error
    finally:
        del stream.readInt32


def _count(read: Callable[[], int], most: int) -> int:
    """Return a count in the head of a table: of texts, say, each of which has twelve bytes or more."""
    number = read()
    if not 0 <= number <= most:
        raise EOFError(f"{number} of something in so short a table")
    return number
