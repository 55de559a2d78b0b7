from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr

from koopcast.errors import MissingFile
from koopcast.sources import ZarrSpec

DATASET = xr.Dataset(
    {"u": (("time", "x"), np.arange(6.0).reshape(3, 2), {"units": "m"})},
    coords={
        "time": np.array(["2000-01-01", "2000-01-02", "2000-01-03"], dtype="datetime64[ns]"),
        "x": [0.0, 1.0],
    },
)


@pytest.mark.parametrize("format", [2, 3])
@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_stores_of_either_format_are_read_lazily(
    tmp_path: Path, format: Literal[2, 3], consolidated: bool
) -> None:
    DATASET.to_zarr(tmp_path / "a.zarr", zarr_format=format, consolidated=consolidated)
    source = ZarrSpec(path=str(tmp_path / "a.zarr"))
    opened = source.open(["u"])
    assert opened["u"].chunks is not None
    assert np.array_equal(opened["u"].values, DATASET["u"].values)
    assert np.array_equal(opened["time"].values, DATASET["time"].values)
    assert source.files() == [tmp_path / "a.zarr"]


def test_a_group_can_be_named(tmp_path: Path) -> None:
    DATASET.to_zarr(tmp_path / "a.zarr", group="inner", zarr_format=3, consolidated=False)
    assert ZarrSpec(path=str(tmp_path / "a.zarr"), group="inner").open(["u"])["u"].shape == (3, 2)


def test_a_directory_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="cannot be read as zarr"):
        ZarrSpec(path=str(tmp_path)).open(["u"])
