"""Files of other formats: BUFR, ODB, netCDF and zarr with points, series, ragged arrays and grids."""

import base64
import sys
import zlib
from pathlib import Path

import eccodes
import numpy as np
import pandas as pd
import pyodc
import pytest
import xarray as xr

from koopcast.cycles.layout import Layout
from koopcast.cycles.moments import numbered
from koopcast.cycles.readers import read_delivery
from koopcast.cycles.reports import Reason
from koopcast.errors import DataError

AXES = ("latitude", "longitude")
TIME = pd.Timestamp("2020-01-01T05:30")


def layout(**options: object) -> Layout:
    return Layout(AXES, {"t": "K"}, **options)


def reports(path: Path, how: Layout) -> tuple[pd.DataFrame, dict[str, int]]:
    table, lost = read_delivery(path, how)
    return how.reports(table), lost


SYNOP = {
    "blockNumber": int, "stationNumber": int, "year": int, "month": int, "day": int, "hour": int,
    "minute": int, "latitude": float, "longitude": float, "heightOfStationGroundAboveMeanSeaLevel": float,
    "airTemperature": float,
}  # fmt: skip


DEADLY = (
    "c-nIcbqiu(h+<)25My9SVgLfh|9P?u>}R;-8JK`PD+UIp1B{G}Ob59S@*EW9No8PAW%$SbkNFdW0u!Ud0+z7rObQG<rc8Pj2Ray-c^z&Y"
    "u;6Jh2Lb^3Zxfy"
)
"""A message of which eccodes 2.50 dies."""


def synop(rows: list[tuple[float | None, ...]]) -> bytes:
    """A BUFR message of land stations, by descriptors of WMO-No. 306."""
    message = eccodes.codes_bufr_new_from_samples("BUFR4")
    for key, value in {
        "masterTablesVersionNumber": 31, "typicalYear": 2020, "typicalMonth": 1, "typicalDay": 1,
        "typicalHour": 6, "typicalMinute": 0, "typicalSecond": 0, "compressedData": 1,
        "numberOfSubsets": len(rows),
    }.items():  # fmt: skip
        eccodes.codes_set(message, key, value)
    descriptors = [301001, 301011, 301012, 301021, 7030, 12101]
    eccodes.codes_set_array(message, "unexpandedDescriptors", descriptors)
    for column, (key, kind) in enumerate(SYNOP.items()):
        missing = eccodes.CODES_MISSING_LONG if kind is int else eccodes.CODES_MISSING_DOUBLE
        values = [missing if row[column] is None else row[column] for row in rows]
        eccodes.codes_set_array(message, key, values)
    eccodes.codes_set(message, "pack", 1)
    content = eccodes.codes_get_message(message)
    eccodes.codes_release(message)
    return bytes(content)


STATIONS: list[tuple[float | None, ...]] = [
    (1, 2, 2020, 1, 1, 5, 30, 50.5, 3.25, 100.0, 280.15),
    (1, 3, 2020, 1, 1, None, 40, -40.0, -179.0, None, 281.15),
    (1, 4, 2020, 1, 1, 5, 30, None, 7.0, 5.0, 282.15),
    (1, 5, 2020, 1, 1, 5, 30, 20.0, 7.0, 5.0, None),
]
BUFR = layout(names={"airTemperature": "t"})


def test_bufr_gives_the_elements_that_variables_name(tmp_path: Path) -> None:
    (tmp_path / "a.bufr").write_bytes(synop(STATIONS) + b"\r\r\n" + synop(STATIONS[:1]))
    found, lost = reports(tmp_path / "a.bufr", BUFR)
    assert lost == {}
    # A station without a temperature reports none; one without an hour has the time of its message.
    assert np.allclose(found["value"], [280.15, 281.15, 282.15, 280.15], rtol=1e-12)
    assert found["time"].tolist() == [TIME, pd.Timestamp("2020-01-01T06:00"), TIME, TIME]
    assert found["station"].tolist() == ["1002", "1003", "1004", "1002"]
    assert found["height"].tolist()[::2] == [100.0, 5.0]
    assert np.isnan(found["height"][1])
    assert np.allclose(found["latitude"][:2], [50.5, -40.0])
    assert found["reason"].tolist() == [Reason.USED, Reason.USED, Reason.NO_POSITION, Reason.USED]


def test_a_bufr_report_of_an_impossible_time_has_none(tmp_path: Path) -> None:
    rest = (50.5, 3.25, 100.0, 280.15)
    times = [
        (2, 30, 5, 30),
        (1, 1, 24, 0),
        (1, 1, 5, 60),
        (1, 1, None, 30),
        (1, 1, 5, None),
        (None, 1, 5, 30),
    ]
    for number, (month, day, hour, minute) in enumerate(times):
        (tmp_path / "a.bufr").write_bytes(synop([(1, 2, 2020, month, day, hour, minute, *rest)]))
        found, _ = reports(tmp_path / "a.bufr", BUFR)
        # Where a part is not stated, the time of the message counts.
        expected = Reason.NO_TIME if number < 3 else Reason.USED
        assert found["reason"].tolist() == [expected]
        assert number < 3 or found["time"][0] == pd.Timestamp("2020-01-01T06:00")


def test_whole_numbers_that_are_missing_in_a_compressed_message_are_none(tmp_path: Path) -> None:
    rows = [(1, None, 2020, 1, 1, 5, 30, 10.0 * at, 3.25, 100.0, 280.0 + at) for at in range(2)]
    rows.append((None, 3, 2020, None, 1, 5, 30, 30.0, 3.25, 100.0, 282.0))
    rows.append((1, 3, 2020, 1, 1, 5, 30, 40.0, 3.25, 100.0, 283.0))
    (tmp_path / "a.bufr").write_bytes(synop(rows))
    found, _ = reports(tmp_path / "a.bufr", BUFR)
    assert found["station"].tolist() == ["", "", "", "1003"]
    # A variable of whole numbers, such as a direction of wind: here the month.
    months = Layout(AXES, {"n": "1"}, names={"month": "n"})
    assert reports(tmp_path / "a.bufr", months)[0]["value"].tolist() == [1, 1, 1]


def test_a_broken_bufr_message_and_a_torn_one_cost_no_other(tmp_path: Path) -> None:
    whole = synop(STATIONS)
    broken = bytearray(whole)
    broken[60:75] = bytes(255 - byte for byte in broken[60:75])
    (tmp_path / "a.bufr").write_bytes(whole + bytes(broken) + whole + whole[:70])
    found, lost = reports(tmp_path / "a.bufr", BUFR)
    assert len(found) == 6
    assert lost == {"malformed": 1, "torn": 1}


def odb(path: Path, **columns: object) -> None:
    count = 3
    table = {
        "date@hdr": [20200101] * count,
        "time@hdr": [53000, 0, 235959],
        "statid@hdr": ["03772", "b", "c"],
        "lat@hdr": [50.5, -40.0, 20.25],
        "lon@hdr": [3.25, -179.0, 7.5],
        "stalt@hdr": [100.5, 2.5, 9.5],
        "varno@body": [39, 39, 110],
        "obsvalue@body": [280.25, np.nan, 99000.5],
        "obs_error@body": [0.5, 1.5, 2.5],
        "fg_depar@body": [0.1, 0.2, 0.3],
        **columns,
    }
    with path.open("wb") as file:
        pyodc.encode_odb(pd.DataFrame(table), file)


def test_odb_columns_are_known_without_their_table_and_integers_are_times(tmp_path: Path) -> None:
    odb(tmp_path / "a.odb")
    found, _ = reports(tmp_path / "a.odb", layout(names={"39": "t"}))
    assert found["time"].tolist() == [TIME, pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-01T23:59:59")]
    assert found["reason"].tolist() == [Reason.USED, Reason.NO_VALUE, Reason.UNKNOWN_VARIABLE]
    assert found["station"].tolist() == ["03772", "b", "c"]
    assert found.loc[0, ["latitude", "longitude", "height", "value", "error"]].tolist() == [
        50.5, 3.25, 100.5, 280.25, 0.5,
    ]  # fmt: skip
    # Columns of one name in two tables keep their tables but for those of hdr and body.
    odb(tmp_path / "b.odb", **{"lat@sat": [1.5, 2.5, 3.5]})
    again, _ = reports(tmp_path / "b.odb", layout(names={"39": "t"}))
    assert again["latitude"].tolist() == found["latitude"].tolist()


def test_a_message_that_kills_the_library_costs_what_follows_it_alone(tmp_path: Path) -> None:
    deadly = zlib.decompress(base64.b85decode(DEADLY))
    (tmp_path / "a.bufr").write_bytes(deadly)
    with pytest.raises(DataError, match="holds no BUFR message that can be decoded"):
        read_delivery(tmp_path / "a.bufr", BUFR)
    (tmp_path / "b.bufr").write_bytes(synop(STATIONS))
    (tmp_path / "a.bufr").write_bytes(synop(STATIONS) + deadly)
    whole, _ = reports(tmp_path / "b.bufr", BUFR)
    found, lost = reports(tmp_path / "a.bufr", BUFR)
    pd.testing.assert_frame_equal(found, whole)
    assert lost == {"torn": 1}


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("a.odb", "pyodc", "odb"), ("a.bufr", "pdbufr", "bufr")]
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        DataError, match=rf"package '{package}' is missing; pip install 'koopcast\[{extra}\]'"
    ):
        read_delivery(tmp_path / name, layout())


def test_points_packed_and_with_units_of_their_own(tmp_path: Path) -> None:
    dataset = xr.Dataset(
        {
            "t": ("obs", np.array([100, -32768, 250], dtype="int16"),
                  {"scale_factor": 0.01, "add_offset": 5.0, "_FillValue": np.int16(-32768), "units": "degC"}),
            "lat": ("obs", [1.0, 2.0, 3.0]),
            "lon": ("obs", [4.0, 5.0, 6.0]),
            "time": ("obs", [5.5, 5.5, 5.75], {"units": "hours since 2020-01-01 00:00:00"}),
            "time_bnds": (("obs", "nv"), np.zeros((3, 2))),
            "station_name": ("obs", np.array([b"ab", b"cd", b"ef"])),
        }
    )  # fmt: skip
    dataset.to_netcdf(tmp_path / "a.nc", engine="netcdf4", format="NETCDF3_CLASSIC")
    found, _ = reports(tmp_path / "a.nc", layout(columns={"station": "station_name"}))
    # A fill value is no report; bounds do not multiply them.
    assert found["value"].round(6).tolist() == [279.15, 280.65]
    assert found["time"].tolist() == [TIME, pd.Timestamp("2020-01-01T05:45")]
    assert found["station"].tolist() == ["ab", "ef"]


def test_series_of_stations_and_ragged_trajectories_keep_their_places(tmp_path: Path) -> None:
    hours = {"units": "hours since 2020-01-01"}
    orthogonal = xr.Dataset(
        {
            "t": (("station", "time"), [[1.0, 2.0], [3.0, np.nan]]),
            "lat": ("station", [10.0, 20.0]),
            "lon": ("station", [30.0, 40.0]),
            "time": ("time", [5.0, 6.0], hours),
        }
    )
    orthogonal.to_netcdf(tmp_path / "orthogonal.nc")
    flat = {
        "t": ("obs", [1.0, 2.0, 3.0]),
        "time": ("obs", [5.0, 6.0, 5.0], hours),
    }
    about = {"lat": ("station", [10.0, 20.0]), "lon": ("station", [30.0, 40.0])}
    counted = {"row_size": ("station", [2, 1], {"sample_dimension": "obs"})}
    owned = {"owner": ("obs", [0, 0, 1], {"instance_dimension": "station"})}
    xr.Dataset({**flat, **about, **counted}).to_netcdf(tmp_path / "contiguous.nc")
    xr.Dataset({**flat, **about, **owned}).to_zarr(tmp_path / "indexed.zarr", consolidated=False)
    for name in ("orthogonal.nc", "contiguous.nc", "indexed.zarr"):
        found, _ = reports(tmp_path / name, layout())
        assert found["value"].tolist() == [1, 2, 3], name
        assert found["latitude"].tolist() == [10, 10, 20]
        assert found["longitude"].tolist() == [30, 30, 40]
        assert found["time"].dt.hour.tolist() == [5, 6, 5]
    broken = {"row_size": ("station", [2, 2], {"sample_dimension": "obs"})}
    xr.Dataset({**flat, **about, **broken}).to_netcdf(tmp_path / "broken.nc")
    with pytest.raises(DataError, match="'row_size' does not fit the dimension 'obs'"):
        reports(tmp_path / "broken.nc", layout())


@pytest.mark.parametrize("units", ["hours since 2020-01-01", ""])
def test_one_time_beside_a_grid_is_that_of_all_its_values(tmp_path: Path, units: str) -> None:
    time = ("time", [5.5], {"units": units}) if units else ("time", np.array(["2020-01-01T05:30Z"], object))
    dataset = xr.Dataset(
        {"t": (("lat", "lon"), [[280.0, 281.0], [282.0, np.nan]]), "qc": (("one", "lat"), [[1, 2]])},
        {"lat": [1.0, 2.0], "lon": [3.0, 4.0], "time": time},
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    found, _ = reports(tmp_path / "a.nc", layout())
    assert found["value"].tolist() == [280, 281, 282]
    assert (found["time"] == TIME).all()
    assert found["qc"].tolist() == ["1", "1", "2"]
    # Two of them are of no value.
    two = dataset.drop_vars("time").assign(time=("two", [5.5, 6.5], {"units": "hours since 2020-01-01"}))
    two.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(DataError, match="no column of times"):
        reports(tmp_path / "b.nc", layout())


@pytest.mark.parametrize("form", ["nc", "zarr"])
def test_variables_of_other_dimensions_are_not_repeated_along_them(tmp_path: Path, form: str) -> None:
    hours = {"units": "hours since 2020-01-01"}
    dataset = xr.Dataset(
        {
            "t": (("time", "station"), [[280.0, 281.0], [282.0, np.nan]], {"units": "K"}),
            "soil": (("time", "station", "depth"), np.arange(12.0).reshape(2, 2, 3), {"units": "degC"}),
            "wind": ("slow", [7.0, 8.0]),
            "lat": ("station", [10.0, 20.0]),
            "lon": ("station", [30.0, 40.0]),
            "time": ("time", [5.0, 6.0], hours),
            "slow": ("slow", [1.0, 2.0], hours),
            "qc": (("time", "station"), [[0, 1], [2, 3]]),
        }
    )
    path = tmp_path / f"a.{form}"
    dataset.to_netcdf(path) if form == "nc" else dataset.to_zarr(path, consolidated=False)
    found, _ = reports(path, Layout(AXES, {"t": "K", "soil": "K", "wind": "m s-1"}))
    of = dict(list(found.groupby("variable")))
    assert {name: len(rows) for name, rows in of.items()} == {"t": 3, "soil": 12, "wind": 2}
    assert of["t"]["value"].tolist() == [280, 281, 282]
    assert of["t"]["time"].dt.hour.tolist() == [5, 5, 6]
    assert of["t"]["latitude"].tolist() == [10, 20, 10]
    assert of["t"]["qc"].tolist() == of["soil"]["qc"].tolist()[:7:3] == ["0", "1", "2"]
    assert np.allclose(of["soil"]["value"], 273.15 + np.arange(12))
    # Times of another axis are not its own.
    assert (of["wind"]["reason"] == Reason.NO_TIME).all()


def test_a_grid_becomes_reports_and_its_nan_none(tmp_path: Path) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    values[0, 1] = np.nan
    image = xr.Dataset(
        {"t": (("time", "lat", "lon"), values), "cloud": (("time", "lat", "lon"), values)},
        {
            "time": pd.date_range("2020-01-01", periods=2, freq="6h"),
            "lat": [1.0, 2, 3],
            "lon": [10.0, 11, 12, 13],
        },
    )
    image.to_netcdf(tmp_path / "image.nc")
    found, lost = reports(tmp_path / "image.nc", layout())
    assert lost == {}
    assert len(found) == 20
    assert (found["reason"] == Reason.USED).all()
    row = found[found["value"] == 23].iloc[0]
    assert (row["time"], row["latitude"], row["longitude"]) == (pd.Timestamp("2020-01-01T06:00"), 3, 13)
    # A swath has coordinates of two dimensions, and may have one time.
    swath = xr.Dataset(
        {
            "t": (("y", "x"), values[1, :2]),
            "lat": (("y", "x"), values[1, :2] + 1),
            "lon": (("y", "x"), values[1, :2] + 2),
            "time": ((), 5.5, {"units": "hours since 2020-01-01"}),
        }
    )
    swath.to_netcdf(tmp_path / "swath.nc")
    found, _ = reports(tmp_path / "swath.nc", layout())
    assert (found["latitude"] == found["value"] + 1).all()
    assert (found["time"] == TIME).all()
    assert len(found) == 8


def test_units_of_times_that_no_clock_counts_are_refused_unless_overridden(tmp_path: Path) -> None:
    points = xr.Dataset(
        {
            "t": ("obs", [1.0, 2.0]),
            "lat": ("obs", [1.0, 2.0]),
            "lon": ("obs", [1.0, 2.0]),
            "time": ("obs", [438293.5, np.nan], {"units": "months since 1970-01-01"}),
        }
    )
    points.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DataError, match="'months since 1970-01-01' are no seconds, minutes, hours or days"):
        reports(tmp_path / "a.nc", layout())
    found, _ = reports(tmp_path / "a.nc", layout(time_units="hours since 1970-01-01"))
    assert found["time"][0] == TIME
    assert found["reason"].tolist() == [Reason.USED, Reason.NO_TIME]
    for text, problem in (("hours since soon", "cannot be read"), ("hours", "since a date")):
        with pytest.raises(DataError, match=problem):
            numbered(pd.Series([1.0]), text)
    with pytest.raises(DataError, match="360_day"):
        numbered(pd.Series([1.0]), "days since 2000-01-01", "360_day")


def test_numbers_of_old_epochs_are_the_dates_of_their_calendars() -> None:
    # To 1970-01-01 the proleptic calendar has 719528 days from the year 0 and 719162 from the year 1, the
    # mixed one of CF two more; 18262 follow to 2020.
    assert numbered(pd.Series([737790 * 24 + 5.5]), "hour since 0000-01-01")[0] == TIME
    days = 719162 + 18262
    assert numbered(pd.Series([days + 2.0]), "days since 0001-01-01")[0] == pd.Timestamp("2020-01-01")
    proleptic = numbered(pd.Series([float(days)]), "days since 0001-01-01", "proleptic_gregorian")
    assert proleptic[0] == pd.Timestamp("2020-01-01")
    far = numbered(pd.Series([1e300, -np.inf, 1e9]), "days since 1970-01-01")
    assert far.isna().all()


def test_times_that_no_calendar_can_write_are_none_in_whatever_column() -> None:
    seconds = pd.Series([0, 2**62, -(2**40)]).astype("datetime64[s, Europe/Paris]")
    table = pd.DataFrame({"time": seconds, "station": seconds, "value": [1.0, 2.0, 3.0]})
    found = layout(variable="t").reports(table.assign(latitude=0.0, longitude=0.0))
    assert found["time"].isna().tolist() == [False, True, True]
    assert found["time"][0] == pd.Timestamp("1970-01-01")
    assert found["reason"].tolist() == [Reason.USED, Reason.NO_TIME, Reason.NO_TIME]
    assert found["station"].tolist() == ["1970-01-01 01:00:00+01:00", "", ""]


@pytest.mark.parametrize(
    ("units", "error"), [("K", 0.9), ("degF", 0.5), ("mK", 0.0009), ("", 0.5), ("1", 0.5), ("hPa", 0.5)]
)
@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_errors_have_units_of_their_own_where_they_fit(
    tmp_path: Path, units: str, error: float, form: str
) -> None:
    dataset = xr.Dataset(
        {
            "t": ("obs", [50.0], {"units": "degF"}),
            "error": ("obs", [0.9], {"units": units}),
            "lat": ("obs", [1.0]),
            "lon": ("obs", [4.0]),
            "time": ("obs", [5.5], {"units": "hours since 2020-01-01"}),
        }
    )
    path = tmp_path / ("a.nc" if form == "netcdf" else "a.zarr")
    dataset.to_netcdf(path) if form == "netcdf" else dataset.to_zarr(path, consolidated=False)
    found, _ = reports(path, layout())
    assert np.allclose(found[["value", "error"]], [[283.15, error]])
