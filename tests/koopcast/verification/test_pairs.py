import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.baselines import PersistenceSpec
from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection, ShapeMismatch
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.verification import Pairs, pairs


class Counter(Dynamics):
    """Adds 1 a step: exact on fields that hold the number of their record."""

    def __init__(self, info, history=1):
        self.info, self.history = info, history

    def step(self, state):
        return state + 1


def counted(records=20, samples=2, window=(12, 20), mask=None):
    values = np.broadcast_to(np.arange(records, dtype="f4")[:, None], (records, 3))
    values = values + 100 * np.arange(samples, dtype="f4")[:, None, None]
    variables = {"u": (("sample", "time", "x"), values)} | (
        {} if mask is None else {"mask": (("time", "x"), mask)}
    )
    info = FieldsInfo(
        {"u": "1"}, (Axis("x", 3),), TimeAxis(records, 1.0), samples, is_masked=mask is not None
    )
    dataset = xr.Dataset(variables, coords={"time": np.arange(records)})
    return FieldData(dataset, info, Window((0, samples), window))


@pytest.mark.parametrize(("starts", "counts"), [("window", [8, 6, 3]), ("any", [8, 8, 8])])
def test_an_exact_model_verifies_every_pair(starts, counts):
    data = counted()
    chosen = Pairs(data, (1, 3, 6), starts=starts)
    frames = pairs.forecast(Counter(data.info), chosen, torch.device("cpu"))
    valid = chosen.valid().expand_as(frames)
    truth = data.tensor()[:, :, None].expand_as(frames)
    torch.testing.assert_close(frames[valid], truth[valid])
    assert torch.isnan(frames[~valid]).all()
    assert [int(valid[0, :, lead].any(dim=(1, 2)).sum()) for lead in range(3)] == counts


def test_a_window_at_the_start_leaves_room_for_the_history():
    data = counted(window=(0, 20))
    chosen = Pairs(data, (2,), history=3)
    assert chosen.initial[0] == 2
    assert int(chosen.valid()[0, :, 0].any(dim=(1, 2)).sum()) == 16
    frames = pairs.forecast(Counter(data.info, history=3), chosen, torch.device("cpu"))
    torch.testing.assert_close(frames[:, 4:, 0], data.tensor()[:, 4:])


def test_every_subject_is_verified_on_the_pairs_of_the_longest_history():
    data = counted(window=(0, 20))
    assert pairs.longest_history([Counter(data.info), Counter(data.info, 4)]) == 4
    chosen = Pairs(data, (1,), history=4)
    held = pairs.expected(PersistenceSpec(), chosen)
    exact = pairs.forecast(Counter(data.info), chosen, torch.device("cpu"))
    torch.testing.assert_close(torch.isnan(held), torch.isnan(exact))
    torch.testing.assert_close(held[:, 4:], exact[:, 4:] - 1)


def test_small_batches_give_the_same_forecasts(monkeypatch):
    data = counted()
    chosen = Pairs(data, (1, 3))
    whole = pairs.forecast(Counter(data.info), chosen, torch.device("cpu"))
    monkeypatch.setattr(pairs, "MEMORY", 1)
    torch.testing.assert_close(
        pairs.forecast(Counter(data.info), chosen, torch.device("cpu")), whole, equal_nan=True
    )


def test_a_cell_counts_where_it_holds_data_now_and_in_the_initial_state():
    mask = np.ones((20, 3), dtype="i1")
    mask[14, 1] = 0
    valid = Pairs(counted(mask=mask), (1,)).valid()[0, :, 0, :, 0]
    # Record 14 is not verified at cell 1, and record 15 starts from it.
    assert (~valid).nonzero().tolist() == [[2, 1], [3, 1]]


def test_a_lead_longer_than_the_window_is_named():
    with pytest.raises(EmptySelection, match="lead 9"):
        Pairs(counted(), (1, 9))


def test_a_model_of_other_fields_is_refused():
    data = counted()
    other = FieldsInfo({"v": "1"}, data.info.axes, data.info.time)
    with pytest.raises(ShapeMismatch, match=r"\('v',\)"):
        pairs.forecast(Counter(other), Pairs(data, (1,)), torch.device("cpu"))
