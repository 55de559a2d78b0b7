import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.metrics import RMSESpec
from koopcast.metrics.energy_spectrum import EnergySpectrumSpec
from koopcast.verification.evaluate import evaluate
from koopcast.verification.sectors import sector_masks

LATITUDE, LONGITUDE = np.arange(-80, 81, 20.0), np.arange(0, 360, 30.0)
AXES = (Axis("latitude", 9, "latitude"), Axis("longitude", 12, "longitude", periodic=True))
INFO = FieldsInfo({"t": "K"}, AXES, TimeAxis(4, 1.0))


def data(values, mask=None):
    dims = ("sample", "time", "latitude", "longitude")
    held = {"t": (dims, values * np.ones((1, 4, 9, 12)))}
    if mask is not None:
        held["mask"] = (dims[2:], mask)
    coords = {"latitude": LATITUDE, "longitude": LONGITUDE, "time": np.arange(4.0)}
    return FieldData(xr.Dataset(held, coords=coords), INFO)


class Same(Dynamics):
    """The frame itself, plus 1 in the north and 3 elsewhere."""

    dtype = torch.float64
    info = INFO

    def step(self, state):
        field = state.reshape(-1, 9, 12, 1).clone()
        field[:, LATITUDE > 0] += 1
        field[:, LATITUDE <= 0] += 3
        return field.flatten(1)


def test_each_sector_has_the_error_of_its_own_cells():
    sectors = {"north": {"latitude": (10.0, 90.0)}, "south": {"latitude": (-90.0, -10.0)}}
    metrics = [RMSESpec(), EnergySpectrumSpec()]
    found = evaluate({"model": Same()}, data(0.0), [], [1], metrics[:1], sectors=sectors).scores()["rmse"]
    assert found["model.north"]["1"] == pytest.approx(1.0)
    assert found["model.south"]["1"] == pytest.approx(3.0)
    weights = np.cos(np.deg2rad(LATITUDE))
    squares = np.where(LATITUDE > 0, 1.0, 9.0)
    assert found["model"]["1"] == pytest.approx((weights @ squares / weights.sum()) ** 0.5)
    assert not metrics[1].is_local


def test_a_sector_may_lie_across_the_seam_of_a_closed_axis():
    masks = sector_masks(
        {"atlantic": {"longitude": (300.0, 30.0)}, "west": {"longitude": (-60.0, 0.0)}}, data(0.0)
    )
    assert LONGITUDE[masks["atlantic"][4, :, 0].numpy()].tolist() == [0.0, 30.0, 300.0, 330.0]
    assert LONGITUDE[masks["west"][4, :, 0].numpy()].tolist() == [0.0, 300.0, 330.0]


def test_a_sector_without_data_is_refused():
    mask = np.ones((9, 12))
    mask[LATITUDE > 50] = 0
    with pytest.raises(EmptySelection, match="'pole' holds no grid point"):
        sector_masks({"pole": {"latitude": (60.0, 90.0)}}, data(0.0, mask))
