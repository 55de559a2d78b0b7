"""Fields on disk: chunks, calendars, the same bytes for the same data."""

import hashlib
import threading
from math import ceil, prod
from pathlib import Path

import cftime
import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
import zarrs
from hypothesis import given
from hypothesis import strategies as st

from koopcast.errors import StoreDamaged, StoreMissing
from koopcast.stores.arrays import CHUNK_BYTES, Codec, chunk_shape, open_fields, write_fields

DTYPES = st.sampled_from([np.dtype(name) for name in ("bool", "float32", "float64", "complex128")])
SHAPES = st.lists(st.integers(0, 5000), min_size=0, max_size=5).map(tuple)


@given(SHAPES, DTYPES)
def test_chunks_are_contiguous_runs_of_at_most_the_target(shape: tuple[int, ...], dtype: np.dtype) -> None:
    chunks = chunk_shape(shape, dtype)
    assert len(chunks) == len(shape)
    assert all(1 <= chunk <= max(1, size) for chunk, size in zip(chunks, shape, strict=True))
    assert prod(chunks) * dtype.itemsize <= CHUNK_BYTES
    cut = [axis for axis, size in enumerate(shape) if chunks[axis] < size]
    if cut:
        last = cut[-1]
        assert all(chunk == 1 for chunk in chunks[:last])
        assert all(
            chunk == size for chunk, size in zip(chunks[last + 1 :], shape[last + 1 :], strict=True) if size
        )


@given(SHAPES, DTYPES)
def test_no_array_is_cut_into_more_parts_than_its_size_calls_for(
    shape: tuple[int, ...], dtype: np.dtype
) -> None:
    chunks = chunk_shape(shape, dtype)
    for axis, size in enumerate(shape):
        if 1 < chunks[axis] < size:
            inner = prod(max(1, item) for item in shape[axis + 1 :]) * dtype.itemsize
            assert ceil(size / chunks[axis]) <= ceil(size / (CHUNK_BYTES // inner))


def test_chunks_hold_whole_fields() -> None:
    float32 = np.dtype("float32")
    # One field of 18 x 432 is 31 kB: all 54 months are one chunk.
    assert chunk_shape((54, 18, 432), float32) == (54, 18, 432)
    # One field of 1000 x 1000 is 4 MB: two times make a chunk of 8 MB, and no chunk crosses samples.
    assert chunk_shape((3, 100, 1000, 1000), float32) == (1, 2, 1000, 1000)
    # 1000 trajectories of 12.8 kB each are 12.8 MB: two equal chunks of whole trajectories.
    assert chunk_shape((1000, 50, 64), float32) == (500, 50, 64)
    # A field of 10 000 x 1000 is 40 MB: five equal strips of it.
    assert chunk_shape((7, 10_000, 1000), float32) == (1, 2000, 1000)
    assert chunk_shape((), float32) == ()


def sample() -> xr.Dataset:
    numbers = np.random.default_rng(3)
    values = numbers.normal(size=(30, 4, 6)).astype(np.float32)
    values[:, 0, 0] = np.nan
    return xr.Dataset(
        {
            "zonal": (("time", "y", "x"), values, {"units": "m s-1", "long_name": "zonal wind"}),
            "mask": (("y", "x"), np.isfinite(values[0])),
            "eigenvalue": ("mode", np.exp(1j * np.arange(3))),
            "count": ((), np.int64(4)),
        },
        coords={"time": np.arange(30) * 0.5, "x": np.arange(6.0), "label": ("mode", ["a", "bcd", "é"])},
        attrs={"title": "winds", "Conventions": "CF-1.8"},
    )


def tree(path: Path) -> dict[str, str]:
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_fields_come_back_as_they_were(tmp_path: Path) -> None:
    write_fields(tmp_path / "f.zarr", sample())
    read = open_fields(tmp_path / "f.zarr")
    xr.testing.assert_identical(read.load(), sample()[list(read.data_vars)])
    assert read["zonal"].dtype == np.float32
    assert read["mask"].dtype == bool


def test_fields_are_read_only_when_they_are_used(tmp_path: Path) -> None:
    write_fields(tmp_path / "f.zarr", sample())
    read = open_fields(tmp_path / "f.zarr")
    assert not read["zonal"].variable._in_memory
    for path in (tmp_path / "f.zarr" / "zonal" / "c").rglob("0"):
        if path.is_file():
            path.write_bytes(np.zeros((30, 4, 6), np.float32).tobytes())
    assert (read["zonal"].isel(time=slice(3, 5)).values == 0).all()


def test_both_ways_pass_through_zarrs_and_leave_the_setting_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = zarr.config.get("codec_pipeline.path")
    passed = []

    def spy(name: str) -> None:
        method = getattr(zarrs.ZarrsCodecPipeline, name)

        async def noting(*arguments: object, **options: object) -> object:
            passed.append(name)
            return await method(*arguments, **options)

        monkeypatch.setattr(zarrs.ZarrsCodecPipeline, name, noting)

    spy("write")
    spy("read")
    write_fields(tmp_path / "f.zarr", sample())
    read = open_fields(tmp_path / "f.zarr")
    assert zarr.config.get("codec_pipeline.path") == before
    passed.append("use")
    assert np.isfinite(read["zonal"].values).any()
    assert passed[0] == "write"
    assert passed[-1] == "read"


def test_threads_share_the_setting(tmp_path: Path) -> None:
    before = zarr.config.get("codec_pipeline.path")

    def work(number: int) -> None:
        for turn in range(4):
            write_fields(tmp_path / f"{number}-{turn}.zarr", sample())
            open_fields(tmp_path / f"{number}-{turn}.zarr").load()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert zarr.config.get("codec_pipeline.path") == before
    assert len({str(tree(path)) for path in tmp_path.iterdir()}) == 1


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = sample(), sample()
    second["zonal"].attrs = dict(reversed(list(second["zonal"].attrs.items())))
    second["zonal"].encoding = {
        "_FillValue": -9999.0,
        "scale_factor": 2.0,
        "chunksizes": (1, 1, 1),
        "dtype": "i2",
    }
    second = second[list(reversed(list(second.data_vars)))]
    write_fields(tmp_path / "a.zarr", first)
    write_fields(tmp_path / "b.zarr", second)
    write_fields(tmp_path / "c.zarr", first.chunk(time=7, x=4))
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr") == tree(tmp_path / "c.zarr")


def test_lazy_data_larger_than_a_chunk_are_written_block_by_block(tmp_path: Path) -> None:
    values = dask.array.arange(6_000_000, chunks=1_000_001, dtype="float32")
    write_fields(tmp_path / "f.zarr", xr.Dataset({"a": ("time", values)}))
    read = open_fields(tmp_path / "f.zarr")["a"]
    assert read.encoding["chunks"] == (2_000_000,)
    np.testing.assert_array_equal(read.values, np.arange(6_000_000, dtype="float32"))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_codec_makes_smooth_fields_smaller_and_loses_nothing(tmp_path: Path, codec: Codec) -> None:
    smooth = xr.Dataset({"a": (("time", "x"), np.zeros((100, 1000)) + np.arange(1000.0))})
    write_fields(tmp_path / "f.zarr", smooth, codec=codec)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 400_000
    xr.testing.assert_identical(open_fields(tmp_path / "f.zarr").load(), smooth)


def test_groups_live_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "analysis.zarr"
    write_fields(path, sample(), group="analysis")
    write_fields(path, sample() * 2, group="background")
    write_fields(path, sample() * 3, group="analysis")
    xr.testing.assert_identical(
        open_fields(path, group="background")[["zonal"]].load(), (sample() * 2)[["zonal"]]
    )
    xr.testing.assert_identical(
        open_fields(path, group="analysis")[["zonal"]].load(), (sample() * 3)[["zonal"]]
    )
    with pytest.raises(StoreMissing, match="no fields in"):
        open_fields(path, group="spread")


@pytest.mark.parametrize(
    "calendar", ["standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day"]
)
def test_times_of_every_calendar_come_back(tmp_path: Path, calendar: str) -> None:
    times = xr.date_range("1860-01-16", periods=50, freq="MS", calendar=calendar, use_cftime=True)
    write_fields(tmp_path / "f.zarr", xr.Dataset({"a": ("time", np.arange(50.0))}, {"time": times}))
    read = open_fields(tmp_path / "f.zarr")["time"]
    assert read.dt.calendar == ("proleptic_gregorian" if calendar == "standard" else calendar)
    assert [value.isoformat() for value in times] == [
        str(value)[:19].replace(" ", "T") for value in read.values
    ]


def test_the_thirtieth_of_february_comes_back(tmp_path: Path) -> None:
    times = [cftime.Datetime360Day(2001, 2, 30, 12), cftime.Datetime360Day(2001, 3, 1)]
    write_fields(tmp_path / "f.zarr", xr.Dataset({"a": ("time", [1.0, 2.0])}, {"time": times}))
    assert list(open_fields(tmp_path / "f.zarr")["time"].values) == times


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="no fields in"):
        open_fields(tmp_path / "none.zarr")
    write_fields(tmp_path / "f.zarr", sample())
    with pytest.raises(StoreDamaged, match="lacks variables meridional"):
        open_fields(tmp_path / "f.zarr", first=["zonal", "meridional"])
