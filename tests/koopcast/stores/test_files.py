"""Datasets, tensors, tables and JSON come back as they were, and the same content gives the same bytes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from koopcast.errors import StoreDamaged, StoreMissing
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.stores import files

INFO = FieldsInfo(
    variables={"v": "m s-1", "u": "m s-1"},
    axes=(
        Axis("latitude", 4, "latitude", length=30.0, units="degrees_north"),
        Axis("longitude", 6, "longitude", True),
    ),
    time=TimeAxis(30, "P1M", "days", "360_day"),
    parts={"train": Window((0, 1), (0, 20)), "test": Window((0, 1), (20, 30))},
    is_masked=True,
    properties=frozenset({"measure_preserving", "exact_spectrum", "exact_solution"}),
)


def data() -> FieldData:
    numbers = np.random.default_rng(0)
    times = xr.date_range("2001-01-30", periods=30, freq="D", calendar="360_day", use_cftime=True)
    dims = ("time", "latitude", "longitude")
    mask = np.ones((4, 6), dtype=bool)
    mask[0] = False
    variables = {
        name: (
            dims,
            np.where(mask, numbers.normal(size=(30, 4, 6)), np.nan).astype(np.float32),
            {"units": "m s-1"},
        )
        for name in ("u", "v")
    }
    return FieldData(xr.Dataset({**variables, "mask": (dims[1:], mask)}, {"time": times}), INFO)


def test_a_dataset_comes_back_with_its_contract_and_the_order_of_its_channels(tmp_path: Path) -> None:
    files.write_data(tmp_path, data())
    read = files.open_data(tmp_path)
    assert read.info == INFO
    assert list(read.info.variables) == ["v", "u"]
    assert list(read.dataset.data_vars) == ["v", "u", "mask"]
    assert torch.equal(read.tensor(), data().tensor())
    assert torch.equal(read.part("test").tensor(), data().part("test").tensor())
    assert torch.equal(read.always_valid(), data().always_valid())


@pytest.mark.parametrize("step", [0.05, 1.0, "P1M", ""])
def test_the_step_of_time_keeps_its_type(step: float | str) -> None:
    info = FieldsInfo({"u": "1"}, (Axis("x", 3, length=22.0),), TimeAxis(5, step))
    read = files.info_from_json(files.info_to_json(info))
    assert read == info
    assert type(read.time.step) is type(step)


def test_something_else_is_no_contract() -> None:
    with pytest.raises(StoreDamaged, match="no contract of fields"):
        files.info_from_json({"variables": 3})


def test_tensors_come_back_even_where_they_share_memory(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"b": base.T, "a": base, "c": torch.tensor(3), "z": torch.ones(2, dtype=torch.complex64)}
    files.write_tensors(tmp_path / "m.safetensors", tensors)
    read = files.read_tensors(tmp_path / "m.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_a_table_comes_back(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"metric": ["rmse", "crps"], "lead": pd.array([1, None], dtype="Int64"), "value": [0.5, np.nan]}
    )
    files.write_table(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(files.read_table(tmp_path / "t.parquet"), table, check_dtype=False)


def write_all(folder: Path) -> None:
    folder.mkdir()
    files.write_data(folder, data())
    files.write_tensors(folder / "m.safetensors", {name: torch.ones(3) for name in "abcdefg"})
    files.write_table(folder / "t.parquet", pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}))
    files.write_json(folder / "j.json", {"b": 1, "a": [0.1, "é"]})


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write_all(tmp_path / "one")
    write_all(tmp_path / "two")
    one = {
        path.relative_to(tmp_path / "one"): path.read_bytes()
        for path in (tmp_path / "one").rglob("*")
        if path.is_file()
    }
    two = {
        path.relative_to(tmp_path / "two"): path.read_bytes()
        for path in (tmp_path / "two").rglob("*")
        if path.is_file()
    }
    assert one == two


def test_the_contract_does_not_depend_on_the_hash_seed() -> None:
    assert files.info_to_json(INFO)["properties"] == [
        "exact_solution",
        "exact_spectrum",
        "measure_preserving",
    ]


@pytest.mark.parametrize("read", [files.read_tensors, files.read_table, files.read_json])
def test_a_file_that_is_torn_or_gone_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(StoreMissing, match="there is no file"):
        read(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"{torn")
    with pytest.raises(StoreDamaged, match="run the step that writes it again"):
        read(tmp_path / "file")
