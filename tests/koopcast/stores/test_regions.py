from math import prod

import dask.array as lazy
import numpy as np
import pytest
import xarray as xr

from koopcast.errors import ShapeMismatch
from koopcast.stores.arrays import CHUNK_BYTES, open_fields
from koopcast.stores.regions import WASTE, Regions, block_chunks, stored_bytes

SHAPE = (7, 6, 5)
VALUES = np.arange(prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 1


def template(shape=SHAPE):
    array = xr.DataArray(lazy.zeros(shape, chunks=shape, dtype="float32"), dims=("sample", "time", "x"))
    return xr.Dataset({"u": array}, coords={"x": np.arange(shape[-1], dtype=np.float64)})


def regions(folder, block=2):
    return Regions.lay_out(folder / "scratch", template(), block)


def fill(target, blocks):
    for block in blocks:
        members = target[block]
        target.write(members.start, None, {"u": VALUES[members.start : members.stop]})
        target.mark(block, {"number": block})


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_blocks_written_in_any_order_by_several_attempts_leave_the_same_bytes(tmp_path):
    extra = xr.Dataset({"residual": ("sample", np.arange(7.0))}, attrs={"seed": 1, "equation": "u = 1"})
    one = regions(tmp_path / "one")
    fill(one, range(4))
    one.finish(tmp_path / "one.zarr", extra)
    fill(regions(tmp_path / "two"), [3, 0])
    two = regions(tmp_path / "two")
    assert two.missing() == [1, 2]
    fill(two, [2, 1])
    assert [facts["number"] for facts in two.facts()] == [0, 1, 2, 3]
    two.finish(tmp_path / "two.zarr", extra)
    assert files(tmp_path / "one.zarr") == files(tmp_path / "two.zarr")
    found = open_fields(tmp_path / "two.zarr", first=("u",))
    assert np.array_equal(found["u"], VALUES)
    assert found.attrs == extra.attrs
    assert np.array_equal(found["residual"], np.arange(7.0))


@pytest.mark.parametrize(("damage", "missing"), [("torn", 0), ("gone", 0), ("unmarked", 1)])
def test_a_block_that_is_not_what_its_mark_says_is_missing(tmp_path, damage, missing):
    target = regions(tmp_path)
    fill(target, range(4))
    chunk = target.folder / "fields.zarr" / "u" / "c" / "1" / "0" / "0"
    if damage == "torn":
        chunk.write_bytes(chunk.read_bytes()[:-4] + b"\0\0\0\0")
    elif damage == "gone":
        chunk.unlink()
    else:
        (target.folder / "marks" / "000001.json").unlink()
    assert regions(tmp_path).missing() == [missing]


def test_fields_that_went_to_be_published_are_laid_out_anew(tmp_path):
    target = regions(tmp_path)
    fill(target, range(4))
    target.finish(tmp_path / "fields.zarr", xr.Dataset())
    assert regions(tmp_path).missing() == [0, 1, 2, 3]


def test_another_layout_starts_from_nothing(tmp_path):
    fill(regions(tmp_path), range(4))
    assert regions(tmp_path, block=3).missing() == [0, 1, 2]


def test_records_may_come_in_windows_of_whole_chunks(tmp_path):
    shape = (3, 3000, 1000)
    target = Regions.lay_out(tmp_path / "long", template(shape), 3)
    rows, records, _ = block_chunks(shape, np.dtype("float32"), 3)
    assert rows == 1
    block = np.ones((3, records, 1000), dtype=np.float32)
    target.write(0, 0, {"u": block})
    target.write(1, records, {"u": 2 * block[:1]})
    found = open_fields(target.folder / "fields.zarr")["u"]
    assert float(found[2, records - 1, 0]) == 1
    assert float(found[1, records, 0]) == 2
    with pytest.raises(ShapeMismatch, match="does not consist of whole chunks"):
        target.write(0, 1, {"u": block})
    with pytest.raises(ShapeMismatch, match="whole chunks"):
        target.write(0, 0, {"u": block[:, :-1]})


def test_a_region_of_another_shape_is_refused(tmp_path):
    with pytest.raises(
        ShapeMismatch, match=r"has the shape \(2, 6, 4\), the fields beyond it are \(2, 6, 5\)"
    ):
        regions(tmp_path).write(0, None, {"u": VALUES[:2, :, :4]})
    with pytest.raises(ShapeMismatch, match="6:8"):
        regions(tmp_path).write(6, None, {"u": VALUES[:2]})


@pytest.mark.parametrize("block", [1, 2, 7, 12, 128, 1000])
@pytest.mark.parametrize(
    "shape", [(1, 1000, 40), (150, 90, 64), (1000, 65, 65), (20, 50000, 256), (9, 4, 2000, 900)]
)
def test_chunks_divide_blocks_waste_little_and_are_near_their_size(shape, block):
    chunks = block_chunks(shape, np.dtype("float32"), block)
    size = min(block, shape[0])
    assert size % chunks[0] == 0
    assert -shape[0] % chunks[0] <= WASTE * shape[0]
    assert 4 * prod(chunks) <= CHUNK_BYTES
    assert stored_bytes(shape, chunks, 4) <= 1.06 * 4 * prod(shape)
