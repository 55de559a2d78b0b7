"""The process in which netCDF and BUFR files are read."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from koopcast.cycles import apart
from koopcast.cycles.layout import Layout
from koopcast.cycles.netcdf import read_apart
from koopcast.errors import DataError
from tests.fuzz.targets import LAYOUT


def file(folder: Path, name: str = "value") -> Path:
    values = np.array([1.0, 2.0])
    path = folder / f"{name}.nc"
    time = ("row", values, {"units": "hours since 2020-01-01"})
    xr.Dataset({name: ("row", values, {"units": "K"}), "time": time}).to_netcdf(path, engine="netcdf4")
    return path


def process_of(layout: Layout, path: Path) -> int:
    """Return the number of the process that reads a file."""
    table = read_apart(path, layout)
    assert (table["value"].tolist(), table.attrs["units"]["value"]) == ([1.0, 2.0], "K")
    assert apart._HOLDER._process is not None
    return apart._HOLDER._process._process.pid


def test_one_process_reads_all_files_and_is_replaced_when_it_died(tmp_path: Path) -> None:
    path = file(tmp_path)
    first = process_of(LAYOUT, path)
    assert process_of(LAYOUT, path) == first
    os.kill(first, signal.SIGKILL)
    assert apart._HOLDER._process is not None
    apart._HOLDER._process._process.wait()
    assert process_of(LAYOUT, path) != first


def test_a_fault_of_a_file_ends_no_process(tmp_path: Path) -> None:
    first = process_of(LAYOUT, file(tmp_path))
    with pytest.raises(DataError, match="no variable of values"):
        read_apart(file(tmp_path, "other"), LAYOUT)
    torn = tmp_path / "torn.nc"
    torn.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"'torn.nc' is damaged \(OSError"):
        read_apart(torn, LAYOUT)
    assert process_of(LAYOUT, file(tmp_path)) == first


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path)
    first = process_of(LAYOUT, path)
    os.kill(first, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(apart, "SECONDS", 0.2)
        with pytest.raises(DataError, match="its reader takes more than"):
            read_apart(path, LAYOUT)
    assert process_of(LAYOUT, path) != first
