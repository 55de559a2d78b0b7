import numpy as np
import pytest
import xarray as xr

from koopcast.errors import DataError, ShapeMismatch
from koopcast.sources.axes import arrange


def _dataset(**dims: int) -> xr.Dataset:
    shape = tuple(dims.values())
    return xr.Dataset({"u": (tuple(dims), np.arange(float(np.prod(shape))).reshape(shape))})


def test_attributes_tell_axes_whatever_the_names() -> None:
    dataset = _dataset(b=3, a=2, c=4).assign_coords(
        a=("a", [0.0, 1.0], {"standard_name": "time", "axis": "T"}),
        b=("b", [1.0, 2.0, 3.0], {"units": "degrees_east"}),
        c=("c", [1.0, 2.0, 3.0, 4.0], {"axis": "Y"}),
    )
    arranged = arrange(dataset, ["u"], {})
    assert arranged["u"].dims == ("time", "y", "longitude")
    assert np.array_equal(arranged["u"].values, dataset["u"].transpose("a", "c", "b").values)


def test_common_names_tell_axes_without_attributes() -> None:
    assert arrange(_dataset(TIME=2, lev=3, LAT=2, Lon=4), ["u"], {})["u"].dims == (
        "time",
        "z",
        "latitude",
        "longitude",
    )
    assert arrange(_dataset(realization=2, t=3, i=2), ["u"], {})["u"].dims == ("sample", "time", "x")


def test_an_axis_that_cannot_be_told_is_asked_for_and_then_taken() -> None:
    dataset = _dataset(time=2, dim0=3, dim1=4)
    with pytest.raises(DataError, match=r"dimension 'dim0' \(3 long\).*name it: `coords: \{y: dim0\}`"):
        arrange(dataset, ["u"], {})
    assert arrange(dataset, ["u"], {"y": "dim0", "x": "dim1"})["u"].dims == ("time", "y", "x")


def test_an_override_may_name_the_coordinate_instead_of_the_dimension() -> None:
    dataset = _dataset(n=2, k=3).assign_coords(clock=("n", [5.0, 6.0]), place=("k", [7.0, 8.0, 9.0]))
    arranged = arrange(dataset, ["u"], {"time": "clock", "x": "place"})
    assert arranged["time"].values.tolist() == [5, 6]
    assert arranged["x"].values.tolist() == [7, 8, 9]


def test_latitude_and_longitude_along_one_dimension_make_points() -> None:
    dataset = _dataset(time=2, cell=3).assign_coords(
        lat=("cell", [1.0, 2.0, 3.0], {"units": "degrees_north"}),
        lon=("cell", [4.0, 5.0, 6.0], {"units": "degrees_east"}),
    )
    arranged = arrange(dataset, ["u"], {})
    assert arranged["u"].dims == ("time", "point")
    assert arranged["longitude"].values.tolist() == [4, 5, 6]


def test_meaningless_dimensions_of_size_one_are_dropped() -> None:
    assert arrange(_dataset(time=2, height=1, forecast=1, y=1, x=3), ["u"], {})["u"].dims == (
        "time",
        "y",
        "x",
    )


def test_a_series_becomes_one_point() -> None:
    arranged = arrange(_dataset(time=5), ["u"], {})
    assert arranged["u"].shape == (5, 1)
    assert arranged["u"].dims == ("time", "point")


def test_what_does_not_fit_is_refused_by_name() -> None:
    dataset = _dataset(time=2, x=3)
    with pytest.raises(DataError, match="no variable 'uu'; did you mean 'u'"):
        arrange(dataset, ["uu"], {})
    with pytest.raises(DataError, match="no coordinate 'tim'"):
        arrange(dataset, ["u"], {"time": "tim"})
    with pytest.raises(DataError, match="has no time axis"):
        arrange(_dataset(y=2, x=3), ["u"], {})
    with pytest.raises(ShapeMismatch, match="do not share their axes"):
        arrange(dataset.assign(v=("time", [1.0, 2.0])), ["u", "v"], {})
    with pytest.raises(DataError, match="both look like 'latitude'"):
        arrange(_dataset(time=2, lat=3, latitude=3), ["u"], {})
