"""Fields that are written block by block along `sample`, by many hands, and survive a kill between blocks."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Shaped

from koopcast.errors import ShapeMismatch
from koopcast.stores.arrays import CHUNK_BYTES, add_fields, chunk_shape, lay_out_fields, zarrs_pipeline
from koopcast.stores.durable import remove, sync, write_whole, writing
from koopcast.stores.integrity import sha256

SAMPLE = "sample"
"""The axis along which blocks lie."""
BUFFER_BYTES = 128 * 2**20
"""Bytes of one variable that a block of default size holds before it writes them."""
LEAST_CHUNK_BYTES = 1_000_000
"""Bytes below which no chunk is made smaller so that more samples fit into a block."""
WASTE = 0.05
"""Share of an array that the last chunk may hold in vain."""
_FIELDS, _LAYOUT, _MARKS = "fields.zarr", "layout.json", "marks"


def block_chunks(shape: tuple[int, ...], dtype: np.dtype[Any], block: int) -> tuple[int, ...]:
    """Return the chunks of an array `(sample, ...)` whose samples are written `block` at a time.

    No chunk lies in two blocks: the rows of a chunk divide the block, and they fill the last chunk but for
    a twentieth of the array. What is kept of one sample until it fills a chunk shrinks as blocks grow.
    """
    samples, block = shape[0], min(block, shape[0])
    target = max(LEAST_CHUNK_BYTES, min(CHUNK_BYTES, BUFFER_BYTES // block))
    inner = chunk_shape(shape[1:], dtype, target)
    if inner != shape[1:]:
        return (1, *inner)
    most = max(1, target // (math.prod(inner) * np.dtype(dtype).itemsize))
    divisors = (size for size in range(min(most, block), 0, -1) if block % size == 0)
    return (next(size for size in divisors if -samples % size <= samples * WASTE), *inner)


def stored_bytes(shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int) -> int:
    """Return the bytes on disk: chunks at the edge are as large as the others."""
    return itemsize * math.prod(-(-size // chunk) * chunk for size, chunk in zip(shape, chunks, strict=True))


@dataclass(frozen=True)
class Regions:
    """A store of fields in the making: `fields.zarr`, and a mark for each block that is on the disk.

    A mark is written after the data that it speaks of are durable, and holds their digest: a block without a
    mark, or whose files are not what its mark says, is made again.
    """

    folder: Path
    samples: int
    block: int
    """Samples of a block; the last one may be smaller."""

    @staticmethod
    def lay_out(folder: Path, template: xr.Dataset, block: int) -> "Regions":
        """Return the regions in `folder`, as an earlier attempt left them or laid out anew.

        Args:
            folder: Survives a kill; nothing else lies there.
            template: The whole dataset; lazy variables, `(sample, ...)`, are those that blocks write.
            block: Samples of a block.

        Raises:
            StoreNotWritable: The disk is full or read-only.
        """
        regions = Regions(folder, template.sizes[SAMPLE], block)
        lazy = {str(name): array for name, array in template.data_vars.items() if array.chunks is not None}
        chunks = {name: block_chunks(array.shape, array.dtype, block) for name, array in lazy.items()}
        layout = json.dumps(
            {
                "block": block,
                "arrays": {
                    name: [str(a.dtype), list(a.dims), list(a.shape), list(chunks[name])]
                    for name, a in lazy.items()
                },
            }
        )
        if not regions._is_laid_out(layout):
            with writing(folder.absolute()):
                remove(folder)
                (folder / _MARKS).mkdir(parents=True)
                lay_out_fields(folder / _FIELDS, template, chunks)
                write_whole(folder / _LAYOUT, layout)
        return regions

    def _is_laid_out(self, layout: str) -> bool:
        path = self.folder / _LAYOUT
        # Without its fields the folder is what a run left that was killed while it published them.
        return (self.folder / _FIELDS).is_dir() and path.is_file() and path.read_text() == layout

    def __reduce__(self) -> tuple[type["Regions"], tuple[Path, int, int]]:
        return type(self), (self.folder, self.samples, self.block)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return -(-self.samples // self.block)

    def __getitem__(self, block: int) -> range:
        """Return the samples of a block."""
        return range(block * self.block, min((block + 1) * self.block, self.samples))

    def missing(self) -> list[int]:
        """Return the blocks that are not on the disk, or not as their marks say."""
        return [block for block in range(len(self)) if not self._is_whole(block)]

    def write(
        self,
        first_sample: int,
        first_record: int | None,
        values: Mapping[str, Shaped[np.ndarray, "sample *rest"]],
    ) -> None:
        """Write consecutive samples: some of their records, or with `first_record` None all that they have.

        Raises:
            ShapeMismatch: The region does not consist of whole chunks.
            StoreNotWritable: The disk is full or read-only.
        """
        with zarrs_pipeline(), writing(self.folder.absolute()):
            for name, array in values.items():
                target, stops = self._arrays[name], [first_sample + len(array)]
                starts = [first_sample]
                if first_record is not None:
                    starts.append(first_record)
                    stops.append(first_record + array.shape[1])
                _refuse_unaligned(name, target, starts, stops, array.shape)
                target[tuple(map(slice, starts, stops))] = np.ascontiguousarray(array)

    def mark(self, block: int, facts: Mapping[str, Any]) -> None:
        """Note that a block is written, once it is on the disk for good.

        Raises:
            StoreNotWritable: The disk is full or read-only.
        """
        files = list(self._files(block))
        with writing(self.folder.absolute()):
            for file in files:
                sync(file)
            for folder in sorted({parent for file in files for parent in self._folders(file)}):
                sync(folder)
            mark = {"digest": _digest(files), "facts": dict(facts)}
            write_whole(self._mark(block), json.dumps(mark))

    def facts(self) -> list[dict[str, Any]]:
        """Return what the marks say, block by block; all blocks are there."""
        return [json.loads(self._mark(block).read_text())["facts"] for block in range(len(self))]

    def finish(self, target: Path, extra: xr.Dataset) -> None:
        """Add variables and attributes that are known at the end, and move the store to `target`.

        Raises:
            StoreNotWritable: The disk is full or read-only.
        """
        add_fields(self.folder / _FIELDS, extra)
        with writing(target.parent.absolute()):
            (self.folder / _FIELDS).rename(target)

    @cached_property
    def _arrays(self) -> dict[str, "zarr.Array[Any]"]:
        with zarrs_pipeline():
            group = zarr.open_group(self.folder / _FIELDS, mode="r+", zarr_format=3)
            names = json.loads((self.folder / _LAYOUT).read_text())["arrays"]
            return {name: _array(group, name) for name in names}

    def _mark(self, block: int) -> Path:
        return self.folder / _MARKS / f"{block:06d}.json"

    def _is_whole(self, block: int) -> bool:
        try:
            mark = json.loads(self._mark(block).read_text())
        except (FileNotFoundError, ValueError):
            return False
        return bool(mark["digest"] == _digest(self._files(block)))

    def _files(self, block: int) -> Iterator[Path]:
        """Yield the chunks of a block that are there: one that holds nothing but fill values is not."""
        samples = self[block]
        for name, array in self._arrays.items():
            counts = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
            rows = range(samples.start // array.chunks[0], -(-samples.stop // array.chunks[0]))
            for place in np.ndindex(len(rows), *counts[1:]):
                key = array.metadata.encode_chunk_key((rows[place[0]], *place[1:]))
                path = self.folder / _FIELDS / name / key
                if path.is_file():
                    yield path

    def _folders(self, file: Path) -> Iterator[Path]:
        for folder in file.parents:
            yield folder
            if folder == self.folder / _FIELDS:
                return


def _array(group: zarr.Group, name: str) -> "zarr.Array[Any]":
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _digest(files: Any) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.parent.name}/{file.name} {sha256(file)}\n".encode())
    return whole.hexdigest()


def _refuse_unaligned(
    name: str, target: "zarr.Array[Any]", starts: list[int], stops: list[int], shape: tuple[int, ...]
) -> None:
    expected = (*(stop - start for start, stop in zip(starts, stops, strict=True)),)
    rest = target.shape[len(starts) :]
    if shape != (*expected, *rest):
        raise ShapeMismatch(
            f"a region of '{name}' has the shape {shape}, the fields beyond it are {(*expected, *rest)}"
        )
    for start, stop, chunk, size in zip(starts, stops, target.chunks, target.shape, strict=False):
        if start % chunk or (stop % chunk and stop != size) or stop > size:
            raise ShapeMismatch(
                f"the region {start}:{stop} of '{name}' does not consist of whole chunks of {chunk}",
                "write whole blocks",
            )
