"""Which record of a dataset a window starts from."""

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from koopcast.cycles.clock import Clock, negative, parse_moment
from koopcast.cycles.given import Given
from koopcast.errors import InvalidInput
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.times import parse_duration


def given(times: np.ndarray, start: str, step: str, axis: TimeAxis, **options: int) -> Given:
    duration = parse_duration(step)
    clock = Clock(parse_moment(start), duration, negative(duration), duration, parse_duration("PT0S"))
    values = np.zeros((len(times), 3), dtype="float32")
    dataset = xr.Dataset({"t": (("time", "x"), values)}, coords={"time": times, "x": np.arange(3.0)})
    info = FieldsInfo({"t": "K"}, (Axis("x", 3),), axis, parts={"late": Window((0, 1), (4, len(times)))})
    return Given(FieldData(dataset, info), clock, options.get("records", 1), options.get("history", 1))


def test_records_with_dates_are_found_by_them() -> None:
    times = pd.date_range("2020-01-01", periods=8, freq="3h").to_numpy()
    one = given(times, "2020-01-01T06:00", "PT6H", TimeAxis(8, "PT3H", calendar="standard"))
    assert [one.record(number) for number in range(6)] == [0, 2, 4, 6, None, None]
    two = given(times, "2020-01-01T06:00", "PT6H", TimeAxis(8, "PT3H", calendar="standard"), history=3)
    assert [two.record(number) for number in range(5)] == [None, 2, 4, 6, None]
    late = Given(one.fields.part("late"), one.clock, 1)
    assert [late.record(number) for number in range(5)] == [None, None, 4, 6, None]
    with pytest.raises(InvalidInput, match="starts at 2020-01-01 00:00:00, for which the first guess has no"):
        late.demand_start()
    one.demand_start()


def test_months_are_found_wherever_their_day_lies_and_in_any_calendar() -> None:
    middle = np.array([cftime.DatetimeNoLeap(2020 + m // 12, m % 12 + 1, 16, 12) for m in range(11, 15)])
    months = given(middle, "2020-12", "P1M", TimeAxis(4, "P1M", calendar="noleap"))
    assert [months.record(number) for number in range(6)] == [None, 0, 1, 2, 3, None]


def test_records_in_model_time_follow_one_another() -> None:
    model = given(np.arange(8.0), "2020-01-01", "P1D", TimeAxis(8, 1.0), records=3)
    assert [model.record(number) for number in range(4)] == [0, 3, 6, None]
