import numpy as np
import torch
import xarray as xr

from koopcast.baselines import PersistenceSpec
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window


def test_persistence_holds_the_initial_record_at_every_lead():
    values = np.random.default_rng(0).normal(size=(2, 10, 4)).astype("f4")
    dataset = xr.Dataset({"u": (("sample", "time", "x"), values)}, coords={"time": np.arange(10.0)})
    info = FieldsInfo({"u": "1"}, (Axis("x", 4),), TimeAxis(10, 1.0), samples=2)
    data = FieldData(dataset, info, Window((1, 2), (6, 10)))
    frames = PersistenceSpec().forecast(data, [3, 5, 8], [1, 4])
    assert frames.shape == (1, 3, 2, 4, 1)
    for place, start in enumerate((3, 5, 8)):
        for lead in (0, 1):
            torch.testing.assert_close(frames[0, place, lead, :, 0], torch.from_numpy(values[1, start]))
