from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr

from koopcast.errors import DataError, MissingFile, ShapeMismatch, UnknownCalendar
from koopcast.sources import NetCDFSpec

MONTHLY = {"units": "months since 2000-01-15", "calendar": "standard"}


def _write(
    path: Path, *, times: np.ndarray | None = None, attrs: dict[str, str] | None = None, **kwargs: str
) -> Path:
    """Write u(time, lat, lon) = 100 time + 10 lat + lon with CF attributes."""
    times = np.arange(4.0) if times is None else times
    values = 100 * times[:, None, None] + 10 * np.arange(2.0)[:, None] + np.arange(3.0)
    dataset = xr.Dataset(
        {"u": (("time", "lat", "lon"), values, {"units": "m s-1", "long_name": "wind"})},
        coords={
            "time": ("time", times, attrs or {"units": "days since 2000-01-01", "calendar": "standard"}),
            "lat": ("lat", [10.0, 20.0], {"units": "degrees_north"}),
            "lon": ("lon", [0.0, 5.0, 10.0], {"units": "degrees_east"}),
        },
        attrs={"license": "CC0"},
    )
    dataset.to_netcdf(path, engine="netcdf4", format=kwargs.get("format", "NETCDF4"))
    return path


def _times(path: Path, **options: object) -> np.ndarray:
    return NetCDFSpec(path=str(path), **options).open(["u"])["time"].values


@pytest.mark.parametrize("format", ["NETCDF3_CLASSIC", "NETCDF3_64BIT", "NETCDF4"])
def test_classic_and_new_files_give_the_same_fields_lazily(tmp_path: Path, format: str) -> None:
    opened = NetCDFSpec(path=str(_write(tmp_path / "a.nc", format=format))).open(["u"])
    assert opened["u"].dims == ("time", "latitude", "longitude")
    assert opened["u"].chunks is not None
    assert opened["u"].values[3, 1, 2] == 312
    assert opened["u"].attrs["units"] == "m s-1"
    assert opened.attrs["licence"] == "CC0"
    assert opened["time"].values[1] == np.datetime64("2000-01-02")


def test_files_are_joined_in_the_order_of_their_times_whatever_their_names_and_epochs(tmp_path: Path) -> None:
    _write(tmp_path / "b.nc", attrs={"units": "days since 2000-01-01"})
    _write(tmp_path / "a.nc", attrs={"units": "days since 2000-01-05"})
    opened = NetCDFSpec(path=str(tmp_path / "*.nc")).open(["u"])
    days = np.datetime64("2000-01-01", "ns") + np.arange(8) * np.timedelta64(1, "D")
    assert np.array_equal(opened["time"].values, days)
    assert opened["u"].values[:, 0, 0].tolist() == [0, 100, 200, 300] * 2


def test_files_that_overlap_in_time_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "a.nc", attrs={"units": "days since 2000-01-01"})
    _write(tmp_path / "b.nc", attrs={"units": "days since 2000-01-04"})
    with pytest.raises(DataError, match=r"a.nc ends at 2000-01-04, b.nc begins at 2000-01-04"):
        NetCDFSpec(path=[str(tmp_path / "a.nc"), str(tmp_path / "b.nc")]).open(["u"])


def test_files_on_different_grids_are_refused(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.nc")
    with xr.open_dataset(first, decode_times=False) as dataset:
        moved = dataset.load().assign_coords(lon=[1.0, 6.0, 11.0], time=dataset["time"] + 10)
    moved["time"].attrs = {"units": "days since 2000-01-01"}
    moved.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(ShapeMismatch, match="differ along 'longitude'"):
        NetCDFSpec(path=str(tmp_path / "*.nc")).open(["u"])


def test_every_cf_calendar_is_read_and_others_are_refused(tmp_path: Path) -> None:
    for calendar in ("360_day", "noleap", "365_day", "all_leap", "julian"):
        path = _write(
            tmp_path / f"{calendar}.nc", attrs={"units": "days since 2000-02-28", "calendar": calendar}
        )
        assert isinstance(_times(path)[0], cftime.datetime)
    assert _times(tmp_path / "360_day.nc")[2].isoformat() == "2000-02-30T00:00:00"
    assert _times(tmp_path / "noleap.nc")[1].isoformat() == "2000-03-01T00:00:00"
    path = _write(tmp_path / "bad.nc", attrs={"units": "days since 2000-01-01", "calendar": "lunar"})
    with pytest.raises(UnknownCalendar, match="lunar"):
        _times(path)
    assert _times(path, time={"calendar": "noleap"})[0].calendar == "noleap"


def test_months_since_count_calendar_months(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nc", times=np.array([0.0, 1.0, 2.0, 13.0]), attrs=MONTHLY)
    assert [str(time)[:10] for time in _times(path)] == [
        "2000-01-15",
        "2000-02-15",
        "2000-03-15",
        "2001-02-15",
    ]
    middle = _write(tmp_path / "b.nc", times=np.array([0.5, 1.5]), attrs={"units": "months since 1961-01-01"})
    # Half of 31 and of 28 days.
    assert [str(time)[:13] for time in _times(middle)] == ["1961-01-16T12", "1961-02-15T00"]
    even = _write(
        tmp_path / "c.nc",
        times=np.array([0.1, 1.3]),
        attrs={"units": "months since 2000-01-01", "calendar": "360_day"},
    )
    assert [time.day for time in _times(even)] == [4, 10]
    years = _write(tmp_path / "d.nc", times=np.array([0.0, 2.0]), attrs={"units": "years since 1999-07-01"})
    assert str(_times(years)[1])[:10] == "2001-07-01"


def test_uneven_fractions_of_months_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nc", times=np.array([0.0, 0.4]), attrs=MONTHLY)
    with pytest.raises(DataError, match=r"no fixed meaning .* `time: \{start: 2006-04, step: P1M\}"):
        _times(path)


def test_the_year_zero_of_climatologies_is_read(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "a.nc", times=np.array([366.0, 1096.0]), attrs={"units": "hour since 0000-01-01 00:00:00"}
    )
    first, second = _times(path)
    assert (first.year, first.month, first.day, first.hour) == (0, 1, 16, 6)
    assert (second.month, second.day) == (2, 15)


def test_times_can_be_stated_where_the_file_has_none_that_can_be_used(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nc", attrs={"units": "fortnights since the flood"})
    with pytest.raises(DataError, match=r"cannot be read .* state them: `time: \{units"):
        _times(path)
    stated = _times(path, time={"start": "2006-04", "step": "P1M"})
    assert [str(time)[:10] for time in stated] == ["2006-04-01", "2006-05-01", "2006-06-01", "2006-07-01"]
    daily = _times(path, time={"start": "2000-02-28", "step": "P1D", "calendar": "360_day"})
    assert [time.day for time in daily] == [28, 29, 30, 1]
    assert _times(path, time={"start": 0.0, "step": 0.5, "units": "s"}).tolist() == [0, 0.5, 1, 1.5]
    assert str(_times(path, time={"units": "days since 1990-01-01"})[1])[:10] == "1990-01-02"


def test_numbers_without_an_epoch_are_model_time(tmp_path: Path) -> None:
    opened = NetCDFSpec(path=str(_write(tmp_path / "a.nc", attrs={"units": "s"}))).open(["u"])
    assert opened["time"].values.tolist() == [0, 1, 2, 3]
    assert opened["time"].attrs["units"] == "s"


def test_times_that_do_not_increase_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="times do not increase: record 2"):
        _times(_write(tmp_path / "a.nc", times=np.array([0.0, 3.0, 1.0])))


def test_declared_and_stated_missing_values_become_nan(tmp_path: Path) -> None:
    values = np.array([[1, -9999, 3], [4, 5, 999]], dtype="int16")
    dataset = xr.Dataset({"u": (("time", "x"), values, {"_FillValue": np.int16(-9999), "scale_factor": 0.5})},
                         coords={"time": ("time", [0.0, 1.0], {"units": "s"})})  # fmt: skip
    dataset.to_netcdf(tmp_path / "a.nc")
    found = NetCDFSpec(path=str(tmp_path / "a.nc"), missing=[499.5]).open(["u"])["u"].values
    assert np.array_equal(found, [[0.5, np.nan, 1.5], [2, 2.5, np.nan]], equal_nan=True)


def test_units_can_be_stated(tmp_path: Path) -> None:
    opened = NetCDFSpec(path=str(_write(tmp_path / "a.nc")), units={"u": "knot"}).open(["u"])
    assert opened["u"].attrs["units"] == "knot"


@pytest.mark.parametrize(
    "path", ["nowhere.nc", "*.none", "s3://bucket/a.nc", "pkg://koopcast", "pkg://koopcast/no.nc"]
)
def test_files_that_are_not_there_are_refused(path: str) -> None:
    with pytest.raises(MissingFile):
        NetCDFSpec(path=path).files()


def test_a_package_that_is_not_installed_is_refused_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingFile, match="pip install no-such-package"):
        NetCDFSpec(path="pkg://no_such_package/a.nc").files()


def test_a_file_inside_a_package_is_found() -> None:
    assert NetCDFSpec(path="pkg://koopcast/errors.py").files()[0].name == "errors.py"


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_text("not netCDF")
    with pytest.raises(MissingFile, match="cannot be read as netCDF"):
        NetCDFSpec(path=str(tmp_path / "a.nc")).open(["u"])
