"""What files state of their numbers: units of places and heights, valid ranges; texts that are no times."""

import gzip
import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from koopcast.cycles.layout import Layout
from koopcast.cycles.moments import moments, numbered
from koopcast.cycles.netcdf import read
from koopcast.cycles.readers import read_delivery
from koopcast.cycles.reports import Reason
from koopcast.errors import DataError

AXES = {"latitude": "degrees_north", "longitude": "degrees_east"}
HOURS = {"units": "hours since 2020-01-01"}
TIME = pd.Timestamp("2020-01-01T05:30")


def layout(places: dict[str, str] = AXES, **options: object) -> Layout:
    return Layout(tuple(places), {"t": "K"}, places=places, **options)


def points(path: Path, **variables: object) -> Path:
    """Write three points; a variable is its values, or these and its attributes."""
    given = {
        "lat": [1.0, 2.0, 3.0],
        "lon": [4.0, 5.0, 6.0],
        "time": ([5.5] * 3, HOURS),
        "t": [280.0, 281.0, 282.0],
    }
    parts = {name: it if isinstance(it, tuple) else (it, {}) for name, it in {**given, **variables}.items()}
    dataset = xr.Dataset({name: ("obs", values, said) for name, (values, said) in parts.items()})
    dataset.to_zarr(path, consolidated=False) if path.suffix == ".zarr" else dataset.to_netcdf(path)
    return path


def found(path: Path, how: Layout) -> pd.DataFrame:
    return how.reports(read_delivery(path, how)[0])


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize("places", [AXES, {"latitude": "1", "longitude": "degrees"}])
def test_coordinates_in_radians_become_degrees(tmp_path: Path, name: str, places: dict[str, str]) -> None:
    radians = {
        "lat": ([0.0, np.pi / 6, -np.pi / 2], {"units": "radian"}),
        "lon": ([np.pi, -np.pi / 4, 2 * np.pi], {"units": "rad"}),
    }
    reports = found(points(tmp_path / name, **radians), layout(places))
    assert (reports["reason"] == Reason.USED).all()
    assert np.allclose(reports["latitude"], [0, 30, -90], rtol=1e-12)
    assert np.allclose(reports["longitude"], [180, -45, 360], rtol=1e-12)


def test_the_poles_in_radians_of_single_precision_are_on_the_globe(tmp_path: Path) -> None:
    radians = {
        "lat": (np.array([np.pi / 2, -np.pi / 2, 0.5], "f4"), {"units": "radian"}),
        "lon": (np.array([2 * np.pi, -np.pi, 0.5], "f4"), {"units": "radian"}),
    }
    reports = found(points(tmp_path / "a.nc", **radians), layout())
    assert (reports["reason"] == Reason.USED).all()
    assert reports["latitude"].tolist()[:2] == [90, -90]
    assert reports["longitude"].tolist()[:2] == [360, -180]


def test_coordinates_take_the_units_of_their_axis_and_others_are_refused_by_name(tmp_path: Path) -> None:
    for number, (units, expected) in enumerate(
        [("degrees_N", 1.0), ("decimal degrees", 1.0), ("arcminute", 1 / 60), ("", 1.0)]
    ):
        path = points(tmp_path / f"{number}.nc", lat=([1.0, 2.0, 3.0], {"units": units}))
        assert np.isclose(found(path, layout())["latitude"][0], expected)
    for number, units in enumerate(["degrees_south", "km", "furlongs", "1"]):
        path = points(tmp_path / f"bad{number}.nc", lat=([1.0, 2.0, 3.0], {"units": units}))
        with pytest.raises(
            DataError, match=rf"'lat' is in '{units}', which .* into 'degrees_north'; convert"
        ):
            found(path, layout())
    metres = points(tmp_path / "x.nc", x=([1.0, 2.0, 3.0], {"units": "km"}))
    assert found(metres, layout({"x": "m"}))["x"].tolist() == [1000, 2000, 3000]
    # An axis that counts has no units to turn to.
    assert found(metres, layout({"x": "1"}))["x"].tolist() == [1, 2, 3]


def test_heights_are_in_metres_whatever_the_file_states(tmp_path: Path) -> None:
    for number, (units, expected) in enumerate(
        [("ft", 30.48), ("km", np.nan), ("m", 100), ("", 100), ("masl", 100)]
    ):
        path = points(tmp_path / f"{number}.nc", altitude=([100.0, -9999.0, 0.0], {"units": units}))
        heights = found(path, layout(missing=(-9999.0,), needs_height=True))["height"]
        # 100 km is no height of a station.
        assert np.allclose(heights, [expected, np.nan, 0], equal_nan=True)
    path = points(tmp_path / "bad.nc", altitude=([1.0, 2.0, 3.0], {"units": "flight level"}))
    with pytest.raises(DataError, match=r"'altitude' is in 'flight level', which .* into 'm'"):
        found(path, layout(needs_height=True))
    # Where no correction looks at heights, these are unknown, and the reports are used.
    loose = found(path, layout())
    assert loose["height"].isna().all()
    assert (loose["reason"] == Reason.USED).all()


def test_each_record_may_state_the_units_of_its_height(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "time,lat,lon,t,elevation,elevation_units\n"
        + "".join(f"2020-01-01T05:30,1,{row},280,{height}\n" for row, height in enumerate(
            ["100,ft", "0.2,km", "300,", "400,cubits", "-9999,ft", ",m"]))
    )  # fmt: skip
    heights = found(tmp_path / "a.csv", layout(missing=(-9999.0,), needs_height=True))["height"]
    assert np.allclose(heights, [30.48, 200, 300, np.nan, np.nan, np.nan], equal_nan=True)


def test_a_height_above_ground_is_not_that_of_a_station(tmp_path: Path) -> None:
    above = {"units": "m", "standard_name": "height"}
    path = points(
        tmp_path / "a.nc", height=([2.0] * 3, above), elevation=([70.0, 80.0, 90.0], {"units": "m"})
    )
    assert found(path, layout())["height"].tolist() == [70, 80, 90]
    assert found(path, layout(columns={"height": "height"}))["height"].tolist() == [2, 2, 2]


RANGES = [
    # Values as they are packed, how, what is stated; which are values.
    (np.array([280, 281, 5000], "f4"), {"valid_range": np.array([200, 330], "f4")}, {}, [280, 281, None]),
    (np.array([330.1, 281, 150], "f4"), {"valid_min": 200.0, "valid_max": 330.1}, {}, [330.1, 281, None]),
    (np.array([100, -3000, 250], "i2"), {"valid_min": np.int16(-2000)},
     {"scale_factor": 0.01, "add_offset": 280.0}, [281, None, 282.5]),
    (np.array([3000, 3001, 0], "i2"), {"valid_max": np.int16(3000)},
     {"scale_factor": np.float32(0.01), "add_offset": np.float32(250)}, [280, None, 250]),
    (np.array([100, -3000, 250], "i2"), {"valid_range": np.array([270, 300], "f8")},
     {"scale_factor": 0.01, "add_offset": 280.0}, [281, None, 282.5]),
    (np.array([10, -30, 20], "i2"), {"valid_range": np.array([0, 15], "i2")},
     {"scale_factor": -1.0, "add_offset": 290.0}, [280, None, None]),
    (np.array([200, 10, 120], "u1"), {"valid_range": np.array([100, -6], "i1")},
     {"_Unsigned": "true", "scale_factor": 0.5, "add_offset": 200.0}, [300, None, 260]),
    (np.array([280, 281, 999], "i4"), {"valid_range": np.array([0, 500], "i4")}, {}, [280, 281, None]),
    (np.array([280, 281, 5], "f8"), {"valid_range": "200 to 330"}, {}, [280, 281, 5]),
    (np.array([280, 281, 5], "f8"), {"valid_min": [200.0], "valid_max": "hot"}, {}, [280, 281, None]),
]  # fmt: skip


@pytest.mark.parametrize(("packed", "said", "how", "expected"), RANGES)
@pytest.mark.parametrize("form", ["nc", "zarr"])
def test_what_a_file_says_is_not_valid_is_no_value(
    tmp_path: Path, packed: np.ndarray, said: dict[str, object], how: dict[str, object],
    expected: list[float | None], form: str,
) -> None:  # fmt: skip
    values = packed.view("i1") if "_Unsigned" in how else packed
    path = points(tmp_path / f"a.{form}", t=(values, {"units": "K", **said, **how}))
    reports = found(path, layout())
    assert len(reports) == 3
    for reason, value, right in zip(reports["reason"], reports["value"], expected, strict=True):
        assert reason == (Reason.NO_VALUE if right is None else Reason.USED)
        assert right is None or np.isclose(value, right)


@pytest.mark.parametrize("kind", ["i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("how", [{}, {"scale_factor": 0.01, "add_offset": 250.0}])
def test_what_was_never_written_is_no_value(tmp_path: Path, kind: str, how: dict[str, float]) -> None:
    points(tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        packed = file.createVariable("packed", kind, ("obs",))
        packed.setncatts({"units": "K", **how})
        packed.set_auto_maskandscale(False)
        packed[0] = 280
    reports = found(tmp_path / "a.nc", layout(columns={"value": "packed"}))
    assert reports["reason"].tolist() == [Reason.USED, Reason.NO_VALUE, Reason.NO_VALUE]
    assert np.isclose(reports["value"][0], 252.8 if how else 280)


@pytest.mark.parametrize("kind", ["f4", "f8", "text"])
@pytest.mark.parametrize("form", ["nc", "zarr", "parquet"])
def test_a_number_for_missing_ones_is_known_in_any_precision(tmp_path: Path, kind: str, form: str) -> None:
    numbers = {"t": [-99.9, 280.0, -99.8], "error": [0.5, -99.9, 0.5], "lat": [1.0, 2.0, -99.9]}
    columns = {
        name: np.char.mod("%.1f", values).astype(object) if kind == "text" else np.array(values, kind)
        for name, values in numbers.items()
    }
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pd.DataFrame({**columns, "lon": 4.0, "time": TIME}).to_parquet(path)
    else:
        points(path, **columns)
    reports = found(path, layout(missing=(-99.9,)))
    assert reports["reason"].tolist() == [Reason.NO_VALUE, Reason.USED, Reason.NO_POSITION]
    assert reports["error"].isna().tolist() == [False, True, False]
    packed = {"t": (np.array([-9990, 28000], "i2"), {"scale_factor": 0.01, "units": "K"})}
    rest = {"lat": [1.0, 2.0], "lon": [1.0, 2.0], "time": ([5.5] * 2, HOURS)}
    reports = found(points(tmp_path / "b.nc", **rest, **packed), layout(missing=(-99.9,)))
    assert reports["reason"].tolist() == [Reason.NO_VALUE, Reason.USED]


def test_what_is_not_valid_has_no_place_time_or_error_either(tmp_path: Path) -> None:
    path = points(
        tmp_path / "a.nc",
        lat=([1.0, 2.0, 77.0], {"valid_max": 60.0}),
        time=([5.5, 1e4, 5.5], {**HOURS, "valid_max": 24.0}),
        error=([-7.0, 1.0, 1.0], {"valid_min": 0.0}),
        station=([7, 8, 9], {"valid_max": 6}),
    )
    reports = found(path, layout())
    assert reports["reason"].tolist() == [Reason.BAD_ERROR, Reason.NO_TIME, Reason.NO_POSITION]
    # A name is none of its numbers.
    assert reports["station"].tolist() == ["7", "8", "9"]


@pytest.mark.parametrize("form", ["nc", "zarr"])
def test_what_has_no_meaning_in_a_file_neither_stops_it_nor_counts(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {f"spectrum_{number}": [1.0, 2.0, 3.0] for number in range(9)}
    texts = {"date": np.array(["2020-01-01"] * 3, object), "time": np.array(["05:30"] * 3, object)}
    points(tmp_path / f"a.{form}", **texts, **others)
    scaled = np.array([1, 2, 3], "i2")
    points(tmp_path / f"b.{form}", other=(scaled, {"scale_factor": "0.01"}))
    monkeypatch.setattr("koopcast.cycles.reading.MOST_COLUMNS", 5)
    monkeypatch.setattr("koopcast.cycles.netcdf.ask", lambda path, task, **given: read(str(path), **given))
    for name in ("a", "b"):
        reports = found(tmp_path / f"{name}.{form}", layout())
        assert reports["value"].tolist() == [280, 281, 282]
        assert (reports["time"] == TIME).all()
    with pytest.raises(DataError, match=r"no column of times \(columns: .*t.*\); name it: `columns: {time"):
        found(tmp_path / f"a.{form}", layout(columns={"time": "JULD"}))


@pytest.mark.parametrize("form", ["nc", "zarr"])
@pytest.mark.parametrize("said", [{}, {"_FillValue": np.int32(-2147483647)}])
def test_a_value_whose_station_was_never_written_stands_nowhere(
    tmp_path: Path, form: str, said: dict[str, object]
) -> None:
    owner = np.array([0, 1, -2147483647], "i4")
    packed = {"scale_factor": 0.01, "valid_max": np.int16(9000)}
    dataset = xr.Dataset(
        {
            "t": ("obs", [280.0, 281.0, 282.0]),
            "time": ("obs", [5.5, 5.5, 5.5], HOURS),
            "owner": ("obs", owner, {"instance_dimension": "station", **said}),
            "lat": ("station", np.array([100, 9100], "i2"), packed),
            "lon": ("station", [1.0, 2.0]),
            "station_id": ("station", np.array(["a", "b"], object)),
        }
    )
    path = tmp_path / f"a.{form}"
    dataset.to_netcdf(path) if form == "nc" else dataset.to_zarr(path, consolidated=False)
    reports = found(path, layout())
    assert reports["reason"].tolist() == [Reason.USED, Reason.NO_POSITION, Reason.NO_POSITION]
    assert reports["station"].tolist() == ["a", "b", ""]
    assert reports["latitude"][0] == 1


def test_an_index_beyond_the_stations_is_named(tmp_path: Path) -> None:
    dataset = xr.Dataset(
        {
            "t": ("obs", [1.0, 2.0]),
            "time": ("obs", [5.5, 5.5], HOURS),
            "owner": ("obs", [0, 2], {"instance_dimension": "station"}),
            "lat": ("station", [1.0, 2.0]),
            "lon": ("station", [1.0, 2.0]),
        }
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DataError, match="'owner' does not fit the dimension 'obs'"):
        found(tmp_path / "a.nc", layout())


def test_texts_that_name_no_day_are_no_times() -> None:
    texts = ["now", "today", "2020", "2020.5", "2020.04", "2020 05", "1800", "01/02/2020", "2020-366",
             "2020-W01-3", "1577856600", "2020-01-01 05:30 PM", "2020-01-01T24:00", "2020-12-31T23:59:60Z",
             "2020-02-30"]  # fmt: skip
    assert moments(pd.Series(texts)).isna().all()
    dates = [
        "2020-01-01T05:30",
        "20200101T0530Z",
        "2020/01/01 05:30",
        "2020.01.01 05:30",
        "2020-01-01 06:30+01",
    ]
    assert (moments(pd.Series(dates)) == TIME).all()
    assert moments(pd.Series(["2020-03"]))[0] == pd.Timestamp("2020-03-01")


def test_an_hour_is_no_year_where_its_date_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("date,time,lat,lon,t\n01/02/2020,2020,1,2,280\n2020-02-01,2020,1,2,281\n")
    reports = found(tmp_path / "a.csv", layout())
    assert reports["reason"].tolist() == [Reason.NO_TIME, Reason.USED]
    assert reports["time"][1] == pd.Timestamp("2020-02-01T20:20")


def test_a_date_beside_an_hour_is_no_midnight(tmp_path: Path) -> None:
    good = ["2020-01-01,5", "20200101,05", "2020/1/1,5.0", "2020-01-01T05:00Z,7"]
    rows = good + [f"2020-01-01,{hour}" for hour in ("", "24", "5.5", "-9999", "x")]
    (tmp_path / "a.csv").write_text("Date,Hour,lat,lon,t\n" + "".join(f"{row},1,2,280\n" for row in rows))
    reports = found(tmp_path / "a.csv", layout())
    assert reports["reason"].tolist() == [Reason.USED] * 4 + [Reason.NO_TIME] * 5
    assert (reports["time"][:4] == pd.Timestamp("2020-01-01T05:00")).all()
    days = {"date": [TIME.normalize()] * 3, "hour": [5, 5, 5], "minute": [30, 30, 60]}
    path = tmp_path / "a.parquet"
    pd.DataFrame({**days, "lat": 1.0, "lon": 2.0, "t": 280.0}).to_parquet(path)
    assert found(path, layout())["reason"].tolist() == [Reason.USED, Reason.USED, Reason.NO_TIME]
    assert (found(path, layout())["time"][:2] == TIME).all()
    # Who names a column of times gets that one.
    named = found(path, layout(columns={"time": "date"}))
    assert (named["time"] == TIME.normalize()).all()


def test_numbers_may_count_millionths_and_billionths_of_seconds() -> None:
    for units, count in (("microseconds", 1577856600 * 10**6), ("nanoseconds", 1577856600 * 10**9)):
        assert numbered(pd.Series([count]), f"{units} since 1970-01-01")[0] == TIME


def test_units_of_times_are_of_numbers_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "time,lat,lon,t,received_at\n438293.5,1,2,280,2020-01-01T06:00Z\n2020-01-01T05:30Z,1,3,280,438294\n"
        "soon,1,4,280,\n"
    )
    reports = found(tmp_path / "a.csv", layout(time_units="hours since 1970-01-01"))
    assert reports["time"].tolist()[:2] == [TIME, TIME]
    assert reports["received_at"].tolist()[:2] == [pd.Timestamp("2020-01-01T06:00")] * 2
    assert reports["reason"].tolist() == [Reason.USED, Reason.USED, Reason.NO_TIME]


def test_units_of_times_are_known_in_any_letters() -> None:
    for units in ("Hours Since 2020-1-1 0:0:0.0", " HOURS  since  2020-01-01T00:00:00Z "):
        assert numbered(pd.Series([5.5]), units)[0] == TIME
    for units in ("hours", "hours since", "since 2020-01-01", ""):
        with pytest.raises(DataError, match="are no seconds, minutes, hours or days since a date"):
            numbered(pd.Series([5.5]), units)


def test_a_column_of_units_holds_for_wide_tables_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "time,lat,lon,t,units\n2020-01-01T05:30,1,2,7,degC\n2020-01-01T05:30,1,3,280,\n2020-01-01T05:30,1,4,7,hPa\n"
    )
    reports = found(tmp_path / "a.csv", layout())
    assert reports["reason"].tolist() == [Reason.USED, Reason.USED, Reason.UNKNOWN_UNITS]
    assert np.allclose(reports["value"][:2], [280.15, 280])


def test_a_row_of_units_below_the_header_is_no_record(tmp_path: Path) -> None:
    rows = "2020-01-01T05:30:00Z,1,2,100,7\nUTC,,,,\n"
    (tmp_path / "a.csv").write_text(
        "time,latitude,longitude,altitude,t\nUTC,degrees_north,degrees_east,ft,degree_C\n" + rows
    )
    reports = found(tmp_path / "a.csv", layout())
    # Another one further on is a record without a time, and has no value.
    assert reports["reason"].tolist() == [Reason.USED]
    assert np.allclose(reports[["value", "height", "latitude"]], [[280.15, 30.48, 1]])
    (tmp_path / "b.csv").write_text("time,lat,lon,t\nUTC,degrees_north,km,K\n2020-01-01T05:30,1,2,280\n")
    with pytest.raises(DataError, match="'lon' is in 'km'"):
        found(tmp_path / "b.csv", layout())
    (tmp_path / "c.csv").write_text("time,lat,lon,t\nUTC,degrees_north,degrees_east,K\n")
    assert len(found(tmp_path / "c.csv", layout())) == 0


def test_of_names_in_small_and_large_letters_the_one_written_so_counts(tmp_path: Path) -> None:
    rows = {"time": [TIME], "lat": [1.0], "lon": [2.0]}
    for order in (("T", "t"), ("t", "T")):
        values = {name: [{"t": 280.0, "T": 1.0}[name]] for name in order}
        pd.DataFrame({**rows, **values}).to_parquet(tmp_path / "a.parquet")
        pd.DataFrame({**rows, **values}).to_csv(tmp_path / "a.csv", index=False)
        upper = layout(columns={"value": "T"})
        for form in ("parquet", "csv"):
            assert found(tmp_path / f"a.{form}", layout())["value"].tolist() == [280]
            assert found(tmp_path / f"a.{form}", upper)["value"].tolist() == [1]


@pytest.mark.parametrize(
    "above",
    [
        "# time; lat;lon;t\n",
        "#a remark\n\n# time; lat;lon;t\n",
        "sep=;\ntime;lat;lon;t\n",
        "# old;time\ntime;lat;lon;t\n",
    ],
)
def test_a_header_may_be_a_remark_and_below_a_line_of_the_separator(tmp_path: Path, above: str) -> None:
    (tmp_path / "a.csv").write_text(f"{above}2020-01-01T05:30;1;2;280,5\n# 2020-01-01T05:30;1;2;3\n")
    assert found(tmp_path / "a.csv", layout())["value"].tolist() == [280.5]


@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("time,lat,lon,t\n{},1,2,280\n", "time,lon,lat,t\n{},4,3,281\n"),
        (",time,lat,lon,t\n0,{},1,2,280\n", ",time,lon,lat,t\n0,{},4,3,281\n"),
        ('"time","lat","lon","t"\n{},1,2,280\n', '"time","lon","lat","t"\n{},4,3,281\n'),
        ("id,time,lat,lon,t\na,{},1,2,280\n", "station,time,lon,lat,t\nb,{},4,3,281\n"),
        ("time,lat,lon,t\n{},1,2,280\n", "timestamp,longitude,latitude,t\n{},4,3,281\n"),
        ("time,lat,lon,t\n{},1,2,280\n", "site,datetime,lng,latitude,t\nb,{},4,3,281\n"),
    ],
)
def test_files_that_were_joined_are_read_by_the_header_of_each(
    tmp_path: Path, begin: str, first: str, second: str
) -> None:
    for number, parts in enumerate([(first, second), (second, first)]):
        text = "".join(begin + part.format("2020-01-01T05:30") for part in parts)
        (tmp_path / f"{number}.csv").write_text(text)
        reports = found(tmp_path / f"{number}.csv", layout()).sort_values("value")
        assert (reports["reason"] == Reason.USED).all()
        assert reports[["latitude", "longitude", "value"]].to_numpy().tolist() == [[1, 2, 280], [3, 4, 281]]


@pytest.mark.parametrize("form", ["gzip", "Parquet", "netCDF", "zip", "tar"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_file_of_another_format_is_named_as_what_it_is(tmp_path: Path, form: str, name: str) -> None:
    good = b"time,lat,lon,t\n2020-01-01T05:30,1,2,280\n"
    (tmp_path / "inner.csv").write_bytes(good)
    path = tmp_path / "made"
    if form == "gzip":
        path.write_bytes(gzip.compress(good))
    elif form == "Parquet":
        pd.DataFrame({"t": [280.0]}).to_parquet(path)
    elif form == "netCDF":
        points(tmp_path / "a.nc").rename(path)
    else:
        path = Path(shutil.make_archive(str(path), form, tmp_path, "inner.csv"))
    content = path.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DataError, match=f"'{name}' holds {form} and no table of texts; unpack it"):
        read_delivery(tmp_path / name, layout())
