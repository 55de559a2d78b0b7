"""How fields lie on disk: zarr 3, uncompressed chunks near 8 MB, passed through the zarrs pipeline."""

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from koopcast.errors import StoreDamaged, StoreMissing
from koopcast.stores.durable import remove, writing

CHUNK_BYTES = 8_000_000
"""Bytes of a chunk that is neither slow to open nor wasteful to read in part."""
Codec = Literal["lz4", "zstd"]
"""Lossless compressors; without one, reading and writing are about twice as fast."""


def chunk_shape(shape: tuple[int, ...], dtype: np.dtype[Any], target: int = CHUNK_BYTES) -> tuple[int, ...]:
    """Return the chunks of an array in C order: whole trailing axes as far as `target` bytes go.

    The first axis that does not fit is cut into equal parts (up to rounding), and axes before it into single
    indices: a chunk is one contiguous run of the array. With leading dims `(sample, member, time)` it holds
    whole fields of consecutive times, unless one field is larger than `target`.
    """
    chunks = [1] * len(shape)
    inner = max(1, np.dtype(dtype).itemsize)
    for axis in reversed(range(len(shape))):
        size = max(1, shape[axis])
        longest = max(1, target // inner)
        parts = -(-size // longest)
        chunks[axis] = -(-size // parts)
        inner *= size
        if parts > 1:
            break
    return tuple(chunks)


def write_fields(
    path: Path, dataset: xr.Dataset, *, group: str | None = None, codec: Codec | None = None
) -> None:
    """Write a dataset to the zarr store `path`: the same data give the same bytes.

    Lazy (dask) variables are written block by block. Fill values and packing of the file that the data came
    from are forgotten; NaN is stored as it is.

    Args:
        path: Directory of the store.
        dataset: Any variables; times of any CF calendar.
        group: Group inside the store, beside others; None: the root, in place of whatever was there.
        codec: Compressor.

    Raises:
        StoreNotWritable: The disk is full or read-only.
    """
    variables = {name: _plain(variable) for name, variable in dataset.variables.items()}
    encoding = {name: _encoding(variable, codec) for name, variable in variables.items()}
    for name, variable in variables.items():
        if variable.chunks is not None:
            variables[name] = variable.chunk(dict(zip(variable.dims, encoding[name]["chunks"], strict=True)))
    plain = _rebuilt(dataset, variables)
    with zarrs_pipeline(), writing(path.parent.absolute()):
        plain.to_zarr(path, group=group, mode="w", encoding=encoding, zarr_format=3, consolidated=False)


def lay_out_fields(path: Path, template: xr.Dataset, chunks: Mapping[str, tuple[int, ...]]) -> None:
    """Write the store of a dataset without the values of its lazy variables; the others are written whole.

    Args:
        path: Directory of the store, in place of whatever was there.
        template: Of the whole dataset; no number of a lazy variable is ever computed.
        chunks: Of each lazy variable.

    Raises:
        StoreNotWritable: The disk is full or read-only.
    """
    _write_beside(path, template, chunks, "w")


def add_fields(path: Path, dataset: xr.Dataset) -> None:
    """Add variables, and attributes of the whole, to a store that was laid out; those of the same name go.

    Raises:
        StoreNotWritable: The disk is full or read-only.
    """
    for name in dataset.data_vars:
        remove(path / str(name))
    _write_beside(path, dataset, {}, "a")


def _write_beside(
    path: Path, dataset: xr.Dataset, chunks: Mapping[str, tuple[int, ...]], mode: Literal["w", "a"]
) -> None:
    variables = {name: _plain(variable) for name, variable in dataset.variables.items()}
    encoding = {name: _encoding(variable, None) for name, variable in variables.items()}
    for name, shape in chunks.items():
        encoding[name]["chunks"] = shape
    plain = _rebuilt(dataset, variables)
    with zarrs_pipeline(), writing(path.parent.absolute()):
        plain.to_zarr(path, mode=mode, encoding=encoding, zarr_format=3, consolidated=False, compute=False)


def _rebuilt(dataset: xr.Dataset, variables: Mapping[Hashable, xr.Variable]) -> xr.Dataset:
    data = {name: variables[name] for name in dataset.data_vars}
    coords = {name: variables[name] for name in dataset.coords}
    return xr.Dataset(data, coords, dict(sorted(dataset.attrs.items())))


def open_fields(path: Path, *, group: str | None = None, first: Sequence[str] = ()) -> xr.Dataset:
    """Open what `write_fields` wrote. Values are read each time they are used, and not kept.

    Args:
        path: Directory of the store.
        group: Group inside the store.
        first: Variables to put first; the others follow in the order of their names (a store knows no order).

    Raises:
        StoreMissing: There is no such store or group.
        StoreDamaged: A variable of `first` is not there.
    """
    try:
        with zarrs_pipeline():
            found = xr.open_dataset(
                path, engine="zarr", group=group, cache=False, zarr_format=3, consolidated=False
            )
    except FileNotFoundError as error:
        raise StoreMissing(
            f"there are no fields in '{path / (group or '')}'", "run the step that writes them"
        ) from error
    except Exception as error:
        # What zarr and xarray raise for metadata that were altered is of many kinds.
        raise StoreDamaged(
            f"'{path}' holds no fields ({type(error).__name__}: {error})"[:500],
            "run the step that writes it again",
        ) from error
    if absent := set(first) - set(found.data_vars):
        raise StoreDamaged(
            f"'{path}' lacks variables {', '.join(sorted(absent))}", "run the step that writes it again"
        )
    others = sorted(str(name) for name in found.data_vars if name not in first)
    data = {name: found[name].variable for name in (*first, *others)}
    return xr.Dataset(data, found.coords, found.attrs)


def _plain(variable: xr.Variable) -> xr.Variable:
    """Return a variable without the encoding of its file, with text of any length (zarr 3 knows no other)."""
    result = variable.copy(deep=False).drop_encoding()
    result.attrs = dict(sorted(variable.attrs.items()))
    return result.compute().astype(object) if variable.dtype.kind in "UO" else result


def _encoding(variable: xr.Variable, codec: Codec | None) -> dict[str, Any]:
    """Say how a variable is stored; numbers get no fill value, so that reading does not look for it."""
    compressors = {"lz4": BloscCodec(cname="lz4"), "zstd": ZstdCodec()}
    result: dict[str, Any] = {
        "chunks": chunk_shape(variable.shape, variable.dtype),
        "compressors": None if codec is None else [compressors[codec]],
    }
    return {**result, "_FillValue": None} if variable.dtype.kind in "biufc" else result


class _Setting:
    """The zarrs pipeline as zarr's setting while at least one thread needs it: the setting is global."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._undo.enter_context(zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._undo.close()


zarrs_pipeline = _Setting()
"""The context in which arrays are read and written."""
