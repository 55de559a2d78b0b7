"""Which fields of a dataset the page of a run shows."""

import numpy as np
import xarray as xr

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from tasks.examples import data_part, example


def data(**sizes: int) -> FieldData:
    shape = tuple(sizes.values())
    coords = {name: np.arange(float(size)) for name, size in sizes.items() if name != "sample"}
    dataset = xr.Dataset({"u": (tuple(sizes), np.zeros(shape))}, coords=coords, attrs={"solver": "direct"})
    axes = tuple(Axis(name, size) for name, size in sizes.items() if name not in ("sample", "time"))
    return FieldData(dataset, FieldsInfo({"u": "1"}, axes, TimeAxis(sizes.get("time", 1), 1.0)))


def test_records_in_a_row_are_shown_over_one_axis() -> None:
    shown = example(data(sample=5, time=1000, x=8))
    assert dict(shown.sizes) == {"sample": 3, "time": 400, "x": 8}
    assert shown["time"].values[-1] == 399


def test_maps_of_one_sample_are_spread_over_its_time() -> None:
    shown = example(data(sample=5, time=10, y=4, x=4))
    assert dict(shown.sizes) == {"sample": 1, "time": 4, "y": 4, "x": 4}
    assert shown["time"].values.tolist() == [0, 3, 6, 9]


def test_samples_are_shown_where_there_is_no_time() -> None:
    assert dict(example(data(sample=9, y=4, x=4)).sizes) == {"sample": 4, "y": 4, "x": 4}


def test_checks_of_the_samples_are_facts() -> None:
    fields = data(sample=3, x=4)
    dataset = fields.dataset.assign(residual=("sample", [1e-12, 3e-12, 2e-12]))
    facts = data_part(FieldData(dataset, fields.info)).facts
    assert facts == {"samples": 1, "grid": "4", "solver": "direct", "residual": "1e-12 to 3e-12"}
