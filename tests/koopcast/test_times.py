import cftime
import numpy as np
import pytest

from koopcast.errors import DataError, InvalidInput, UnknownCalendar
from koopcast.times import (
    Duration,
    calendar_name,
    calendar_of,
    closed_range,
    parse_date,
    parse_duration,
    parse_range,
    regular_step,
    shifted_months,
)


def _dates(calendar: str, *dates: tuple[int, ...]) -> np.ndarray:
    return np.array([cftime.datetime(*date, calendar=calendar) for date in dates], dtype=object)


def _days(start: str, stop: str, step: str = "1D") -> np.ndarray:
    return np.arange(start, stop, np.timedelta64(int(step[:-1]), step[-1]), dtype="datetime64[ns]")


def test_a_partial_date_at_either_end_stands_for_all_of_its_period() -> None:
    days = _days("2008-12-30", "2009-04-03")
    found = days[closed_range(days, "2009-01", "2009-03")]
    assert (found[0], found[-1]) == (np.datetime64("2009-01-01"), np.datetime64("2009-03-31"))
    assert len(days[closed_range(days, "2009", "")]) == 92
    assert len(days[closed_range(days, "", "2008")]) == 2
    assert closed_range(days, 2008.0, 2008.0) == slice(0, 2)


def test_partial_dates_reach_the_30th_of_february_in_the_calendar_of_360_days() -> None:
    times = _dates("360_day", (2000, 2, 29), (2000, 2, 30), (2000, 3, 1))
    assert closed_range(times, "", "2000-02") == slice(0, 2)
    assert closed_range(times, "2000-02-30", "2000-02-30") == slice(1, 2)


def test_ranges_of_model_time_hold_both_ends_in_spite_of_rounding() -> None:
    times = 0.1 * np.arange(101)
    assert times[3] > 0.3
    assert closed_range(times, 0.0, "0.3") == slice(0, 4)
    with pytest.raises(InvalidInput, match="model time"):
        closed_range(times, "2009-01", "")


def test_a_range_beside_the_records_is_empty() -> None:
    days = _days("2009-01-01", "2009-02-01")
    found = closed_range(days, "2011", "2012")
    assert found.start == found.stop


@pytest.mark.parametrize(
    ("text", "ends"),
    [("..2009-03", ("", "2009-03")), ("2009-04..2009-09", ("2009-04", "2009-09")), ("2010..", ("2010", "")),
     ("2009", ("2009", "2009")), ("0.5..1.5", ("0.5", "1.5")), ("-10 .. 10", ("-10", "10"))],
)  # fmt: skip
def test_ranges_are_read(text: str, ends: tuple[str, str]) -> None:
    assert parse_range(text) == ends


def test_dates_are_read_down_to_the_part_they_state() -> None:
    assert parse_date("2009-03-16T12:30") == (2009, 3, 16, 12, 30)
    assert parse_date("-0044-03") == (-44, 3)
    with pytest.raises(InvalidInput, match="'spring' is not a date"):
        parse_date("spring")


def test_durations_are_read() -> None:
    assert parse_duration("P1Y2M") == Duration(14, 0.0)
    assert parse_duration("P1DT6H30M") == Duration(0, 86400 + 6.5 * 3600)
    assert parse_duration("-P1M") == Duration(-1, -0.0)
    assert parse_duration("P2W").seconds == 14 * 86400
    for wrong in ("P", "PT", "1M", "P1H", "P1.5M", "monthly"):
        with pytest.raises(InvalidInput, match="ISO 8601"):
            parse_duration(wrong)


@pytest.mark.parametrize(
    ("times", "step"),
    [
        (_days("2000-01-01", "2000-03-01"), "P1D"),
        (_days("2000-01-01", "2000-01-03", "6h"), "PT6H"),
        (_days("2000-01-01", "2000-03-01", "7D"), "P7D"),
        (_days("2000-01-01", "2001-06-01", "30D"), "P30D"),
        # Mid-month stamps of real monthly means: the 16th at noon or the 16th at midnight.
        (
            np.array(["2006-04-16", "2006-05-16T12", "2006-06-16", "2006-07-16T12"], dtype="datetime64[ns]"),
            "P1M",
        ),
        (np.array(["2001-01-31", "2001-02-28", "2001-03-31"], dtype="datetime64[ns]"), "P1M"),
        (np.array(["2001-01-31", "2001-02-28", "2001-03-01"], dtype="datetime64[ns]"), ""),
        (np.array(["2001-01-31", "2001-02-01"], dtype="datetime64[ns]"), "P1D"),
        (np.array(["2000-01-01", "2001-01-01", "2002-01-01"], dtype="datetime64[ns]"), "P1Y"),
        (np.array(["2000-01-01", "2000-04-01", "2000-07-01"], dtype="datetime64[ns]"), "P3M"),
        (np.array(["2000-01-01", "2000-02-01", "2000-04-01"], dtype="datetime64[ns]"), ""),
        (_dates("360_day", (1860, 6, 1), (1861, 6, 1), (1862, 6, 1)), "P1Y"),
        (_dates("noleap", (2000, 2, 27), (2000, 2, 28), (2000, 3, 1)), "P1D"),
        (0.05 * np.arange(50), 0.05),
        (np.array([0.0, 1.0, 3.0]), ""),
        (np.array([4.0]), ""),
    ],
)
def test_the_step_between_records_is_found(times: np.ndarray, step: float | str) -> None:
    assert regular_step(times) == step


def test_months_are_counted_in_the_calendar_of_the_date() -> None:
    begin = cftime.datetime(2000, 11, 15, 6, calendar="noleap")
    assert shifted_months(begin, 3).isoformat() == "2001-02-15T06:00:00"
    with pytest.raises(DataError, match="is not a date"):
        shifted_months(cftime.datetime(2000, 1, 31, calendar="noleap"), 1)


def test_calendars_go_by_their_cf_names() -> None:
    assert calendar_name("365_day") == "noleap"
    assert calendar_name("Gregorian") == "standard"
    assert calendar_of(_dates("360_day", (2000, 1, 1))) == "360_day"
    assert calendar_of(np.arange(3.0)) is None
    with pytest.raises(UnknownCalendar, match="unknown calendar 'lunar'"):
        calendar_name("lunar")
