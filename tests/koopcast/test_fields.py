import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.errors import EmptySelection, NotFinite
from koopcast.fields import FieldData, to_dataset
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window


def _data(*, masked: bool = False, per_time: bool = False) -> FieldData:
    values = np.arange(2 * 5 * 3 * 4, dtype="float32").reshape(2, 5, 3, 4)
    dims = ("sample", "time", "y", "x")
    variables = {"u": (dims, values.copy()), "v": (dims, -values)}
    if masked:
        mask = np.ones((3, 4), dtype="int8")
        mask[0, 0] = 0
        variables["u"][1][..., 0, 0] = np.nan
        variables["mask"] = (
            (("time", "y", "x"), np.repeat(mask[None], 5, 0)) if per_time else (("y", "x"), mask)
        )
    info = FieldsInfo(
        variables={"u": "m/s", "v": "m/s"},
        axes=(Axis("y", 3), Axis("x", 4, periodic=True)),
        time=TimeAxis(5, 1.0),
        samples=2,
        parts={"train": Window((0, 2), (0, 3)), "test": Window((1, 2), (3, 5))},
        is_masked=masked,
    )
    return FieldData(xr.Dataset(variables, coords={"time": np.arange(5.0)}), info)


def test_channels_come_last_and_in_the_order_of_the_contract() -> None:
    tensor = _data().tensor()
    assert tensor.shape == (2, 5, 3, 4, 2)
    assert tensor[1, 2, 1, 3, 0] == 60 + 2 * 12 + 1 * 4 + 3  # C order of (sample, time, y, x)
    assert torch.equal(tensor[..., 1], -tensor[..., 0])


def test_a_part_sees_its_window_and_may_look_back_but_not_ahead() -> None:
    test = _data().part("test")
    assert test.tensor().shape[:2] == (1, 2)
    assert test.tensor(before=2).shape[:2] == (1, 4)
    assert test.tensor(before=99).shape[:2] == (1, 5)
    assert test.times().values.tolist() == [3.0, 4.0]
    assert test.shape_info.time.size == 2


@pytest.mark.parametrize("per_time", [False, True])
def test_masked_cells_are_zero_and_marked(per_time: bool) -> None:
    data = _data(masked=True, per_time=per_time)
    assert torch.equal(data.tensor()[..., 0, 0, 0], torch.zeros(2, 5))
    assert not data.valid()[..., 0, 0, :].any()
    assert data.valid()[..., 1:, :, :].all()
    assert int(data.always_valid().sum()) == 11


def test_a_hole_that_no_mask_announces_is_refused_with_its_place() -> None:
    data = _data()
    data.dataset["v"][1, 4, 2, 3] = np.nan
    with pytest.raises(NotFinite, match=r"'v' has 1 non-finite .*\(1, 4, 2, 3\)"):
        data.tensor()


def test_an_unknown_part_names_those_there_are() -> None:
    with pytest.raises(EmptySelection, match="no part 'valid' \\(parts: test, train\\)"):
        _data().part("valid")


def test_blocks_cover_the_window_once_and_in_order() -> None:
    data = _data().part("train")
    joined = torch.cat([data.tensor(window=block) for block in data.blocks(2)], dim=1)
    assert torch.equal(joined.reshape(2, 3, 3, 4, 2), data.tensor())


def test_a_tensor_returns_to_the_dataset_it_came_from() -> None:
    data = _data(masked=True)
    back = to_dataset(data.tensor(), data, data.times())
    xr.testing.assert_equal(back["u"], data.dataset["u"])
    assert bool(np.isnan(back["v"].values[..., 0, 0]).all())
