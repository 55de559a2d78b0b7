from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window

MakeFields = Callable[..., FieldData]


@pytest.fixture
def make_fields() -> MakeFields:
    """Return a maker of fields from an array `(sample, time, x[, channel])`."""

    def make(values: np.ndarray, *, mask: np.ndarray | None = None, train: int | None = None) -> FieldData:
        values = values[..., None] if values.ndim == 3 else values
        samples, times, size, channels = values.shape
        names = [f"u{index}" for index in range(channels)]
        variables = {name: (("sample", "time", "x"), values[..., index]) for index, name in enumerate(names)}
        if mask is not None:
            variables["mask"] = (("time", "x") if mask.ndim == 2 else ("x",), mask.astype("int8"))
        parts = {} if train is None else {"train": Window((0, samples), (0, train))}
        info = FieldsInfo(
            dict.fromkeys(names, "1"),
            (Axis("x", size, "index"),),
            TimeAxis(times, 1.0),
            samples,
            parts,
            mask is not None,
        )
        return FieldData(xr.Dataset(variables, coords={"time": np.arange(float(times))}), info)

    return make


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)
