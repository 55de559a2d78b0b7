import tracemalloc

import numpy as np
import pandas as pd
import pytest

from koopcast.cycles.clock import NOWHERE, Clock, later, negative, parse_moment, steps_in
from koopcast.errors import InvalidInput
from koopcast.times import parse_duration


def clock(start="2009-10", step="P1M", closed="right", end=None, length=None, cutoff="PT0S", begin=None):
    whole = parse_duration(step)
    first = negative(whole) if begin is None else parse_duration(begin)
    return Clock(
        parse_moment(start), whole, first, parse_duration(length or step), parse_duration(cutoff),
        closed, None if end is None else parse_moment(end),
    )  # fmt: skip


def moments(*texts):
    return np.array(texts, dtype="datetime64[ns]")


def test_labels_of_months_and_of_hours():
    assert [clock().name(k) for k in (0, 3)] == ["20091001T000000Z", "20100101T000000Z"]
    six = clock("2020-02-28T18", "PT6H")
    assert [six.name(k) for k in (0, 1, 5)] == ["20200228T180000Z", "20200229T000000Z", "20200301T000000Z"]
    assert clock().bounds(5) == (pd.Timestamp(2010, 2, 1), pd.Timestamp(2010, 3, 1))


@pytest.mark.parametrize(
    ("closed", "numbers"), [("right", [NOWHERE, 0, 0, 1, 1, NOWHERE]), ("left", [0, 0, 1, 1, 2, NOWHERE])]
)
def test_a_time_on_an_edge_belongs_to_the_declared_side(closed, numbers):
    times = moments("2020-01-01T00", "2020-01-01T03", "2020-01-01T06", "2020-01-01T06:00:01",
                    "2020-01-01T12", "NaT")  # fmt: skip
    assert clock("2020-01-01T06", "PT6H", closed).numbers(times).tolist()[:5] == numbers[:5]
    assert clock("2020-01-01T06", "PT6H", closed).numbers(times)[5] == NOWHERE


def test_every_hour_of_ten_years_belongs_to_exactly_one_window():
    times = pd.date_range("2010-01-01", "2019-12-31", freq="h").to_numpy().astype("datetime64[ns]")
    for cycle in (clock("2010-01", "P1M", "left"), clock("2010-01-01", "PT6H")):
        found = cycle.numbers(times)
        first, last = found[found >= 0].min(), found.max()
        assert (np.diff(found[found >= 0]) >= 0).all()
        for number in (first, first + 7, last - 3, last):
            begin, end = cycle.bounds(int(number))
            inside = times[found == number]
            assert inside.min() >= begin
            assert inside.max() <= end


def test_gaps_between_short_windows_belong_nowhere():
    short = clock("2020-01-01T06", "PT6H", length="PT1H")
    assert short.numbers(moments("2020-01-01T00:30", "2020-01-01T03")).tolist() == [0, NOWHERE]


def test_due_windows_come_from_the_moment_and_the_cutoff():
    cycle = clock("2020-01-01T06", "PT6H", cutoff="PT2H", end="2020-01-02")
    assert list(cycle.due(0, pd.Timestamp("2020-01-01T07:59"))) == []
    assert list(cycle.due(0, pd.Timestamp("2020-01-01T08"))) == [0]
    assert list(cycle.due(2, pd.Timestamp("2030-01-01"))) == [2, 3]


def test_a_clock_or_a_report_of_the_far_future_costs_nothing():
    """A machine that believes in 2261, or one report that does, at a window a second."""
    cycle = clock("2020-01-01", "PT1S")
    far = pd.Timestamp("2261-01-01")
    windows = int((far - pd.Timestamp("2020-01-01")).total_seconds())
    assert cycle.due(0, far) == range(windows + 1)
    assert cycle.due(windows - 1, far) == range(windows - 1, windows + 1)
    times = moments("2019-12-31T23:00", "2020-01-01T00:00:02", "2261-01-01")
    assert cycle.numbers(times).tolist() == [NOWHERE, 2, windows]
    for text in ("9999-12-31", "0001-01-01"):
        with pytest.raises(InvalidInput, match=r"its year is not in 1678\.\.2261"):
            parse_moment(text)


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize(
    ("step", "begin", "length"), [("PT6H", "-PT9H", "PT4H"), ("PT0.3S", "PT0.1S", "PT0.2S")]
)
def test_the_window_of_a_time_is_the_one_whose_bounds_hold_it(closed, step, begin, length):
    cycle = Clock(parse_moment("2020-01-01"), *map(parse_duration, (step, begin, length, "PT0S")), closed)
    edges = np.array(
        [bound for number in range(30) for bound in cycle.bounds(number)], dtype="datetime64[ns]"
    )
    times = np.concatenate([edges + np.timedelta64(shift, "ns") for shift in (-1, 0, 1)])
    for time, found in zip(times, cycle.numbers(times).tolist(), strict=True):
        moment = pd.Timestamp(time)
        holding = [
            number
            for number in range(30)
            for first, last in [cycle.bounds(number)]
            if (first <= moment < last if closed == "left" else first < moment <= last)
        ]
        assert [found] == (holding or [NOWHERE])


def test_labels_are_read_back():
    cycle = clock("2020-01-01T06", "PT6H")
    assert [cycle.number(cycle.name(k)) for k in (0, 1, 999)] == [0, 1, 999]
    assert cycle.number("2020-01-02T00:00") == 3
    for text in ("2020-01-01T07", "2019-01-01T06", "soon"):
        with pytest.raises(InvalidInput):
            cycle.number(text)


def test_months_end_where_they_end():
    assert later(pd.Timestamp(2020, 1, 31), parse_duration("P1M")) == pd.Timestamp(2020, 2, 29)
    assert clock("2020-01-31").label(2) == pd.Timestamp(2020, 3, 31)


@pytest.mark.parametrize("begin", [None, "PT0S", "-PT6H", "PT12H"])
def test_windows_of_months_from_the_31st_follow_one_another_without_a_gap(begin):
    months = clock("2020-01-31", begin=begin)
    bounds = [months.bounds(k) for k in range(14)]
    assert [end for _, end in bounds[:-1]] == [first for first, _ in bounds[1:]]
    times = pd.date_range(bounds[0][0], bounds[-1][1], freq="h", inclusive="right")
    edges = [first for first, _ in bounds]
    expected = np.searchsorted(np.array(edges, dtype="datetime64[ns]"), times.to_numpy(), side="left") - 1
    assert months.numbers(times.to_numpy().astype("datetime64[ns]")).tolist() == expected.tolist()
    if begin is None:
        assert bounds[2] == (pd.Timestamp(2020, 2, 29), pd.Timestamp(2020, 3, 31))


@pytest.mark.parametrize("closed", ["left", "right"])
def test_odd_windows_are_those_of_plain_arithmetic(closed):
    odd = clock("2020-01-01", "PT7H", closed, length="PT6H", begin="-PT5H")
    minutes = np.arange(-600, 9000, 30)
    times = np.datetime64("2020-01-01", "ns") + minutes * np.timedelta64(1, "m")
    since = minutes + 5 * 60
    number, rest = since // 420, since % 420
    if closed == "right":
        number, rest = np.where(rest == 0, number - 1, number), np.where(rest == 0, 420, rest)
    inside = rest < 360 if closed == "left" else rest <= 360
    assert odd.numbers(times).tolist() == np.where(inside & (number >= 0), number, NOWHERE).tolist()


def test_a_time_far_ahead_costs_no_memory_for_the_windows_before_it():
    tracemalloc.start()
    found = clock("2020-01-01", "PT1M").numbers(moments("2020-01-01T00:02:30", "2199-12-31"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tolist() == [
        3,
        (np.datetime64("2199-12-31") - np.datetime64("2020-01-01")).astype(int) * 1440,
    ]
    assert peak < 2**20


def test_steps_are_whole_numbers_or_nothing():
    assert steps_in(parse_duration("PT6H"), parse_duration("PT1H")) == 6
    assert steps_in(parse_duration("P1Y"), parse_duration("P1M")) == 12
    assert steps_in(parse_duration("PT6H"), parse_duration("PT4H")) is None
    assert steps_in(parse_duration("P1M"), parse_duration("P1D")) is None
