from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.errors import DataError, EmptySelection, MissingFile, NotFinite, UnknownUnit
from koopcast.geography import is_global, select_range, tidied
from koopcast.grids import Axis, Window
from koopcast.ingest import Split, describe, ingest
from koopcast.sources import NetCDFSpec, ZarrSpec

RNG = np.random.default_rng(0)


def _source(
    path: Path, *, longitudes: np.ndarray | None = None, holes: np.ndarray | None = None, **more: object
) -> NetCDFSpec:
    """Write 24 monthly fields in K and m/s over 4 latitudes, north first, and return their source."""
    longitudes = np.arange(0.0, 360.0, 30.0) if longitudes is None else longitudes
    shape = (24, 4, len(longitudes))
    t = 280 + RNG.normal(size=shape)
    if holes is not None:
        t[holes] = np.nan
    dataset = xr.Dataset(
        {
            "t": (("time", "lat", "lon"), t, {"units": "K", "standard_name": "surface_temperature"}),
            "u": (("time", "lat", "lon"), RNG.normal(size=shape), {"units": "M/S"}),
            "n": (("time", "lat", "lon"), RNG.normal(size=shape)),
        },
        coords={
            "time": ("time", np.arange(24.0), {"units": "months since 2000-01-15", "calendar": "360_day"}),
            "lat": ("lat", [30.0, 10.0, -10.0, -30.0], {"units": "degrees_north"}),
            "lon": ("lon", longitudes, {"units": "degrees_east"}),
        },
        attrs={"institution": "nowhere", "history": "made for a test"},
    )
    dataset.to_netcdf(path / "a.nc")
    return NetCDFSpec(path=str(path / "a.nc"), **more)


def test_the_contract_is_told_from_metadata_and_kept_by_the_fields(tmp_path: Path) -> None:
    split = Split(time={"train": "..2000-12", "test": "2001-01.."})
    source = _source(tmp_path)
    info = describe(source, ["t", "u"], units={"t": "degC"}, mask="none", split=split)
    fields = ingest(source, ["t", "u"], units={"t": "degC"}, mask="none", split=split)
    assert fields.info == info
    assert dict(info.variables) == {"t": "degC", "u": "m s-1"}
    assert info.axes == (
        Axis("latitude", 4, "latitude", False, 60.0, "degrees_north"),
        Axis("longitude", 12, "longitude", True, 360.0, "degrees_east"),
    )
    assert (info.time.size, info.time.step, info.time.calendar) == (24, "P1M", "360_day")
    assert info.parts["test"] == Window((0, 1), (12, 24))
    assert fields.tensor().shape == (1, 24, 4, 12, 2)
    assert abs(float(fields.tensor()[..., 0].mean()) - 6.85) < 0.2


def test_fields_stay_lazy_in_single_precision_with_their_attributes(tmp_path: Path) -> None:
    dataset = ingest(_source(tmp_path, licence="CC0"), ["t"]).dataset
    assert dataset["t"].chunks is not None
    assert dataset["t"].dtype == np.float32
    assert dataset["t"].attrs == {"units": "K", "standard_name": "surface_temperature"}
    assert dataset.attrs == {
        "Conventions": "CF-1.11", "institution": "nowhere", "licence": "CC0", "source_files": "a.nc"
    }  # fmt: skip
    assert dataset["latitude"].values.tolist() == [-30, -10, 10, 30]


def test_describing_reads_no_value(tmp_path: Path) -> None:
    values = xr.Dataset(
        {"u": (("time", "x"), np.zeros((4, 3), dtype="float32"))},
        coords={"time": ("time", np.arange(4.0), {"units": "s"})},
    )
    values.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    for chunk in (tmp_path / "a.zarr" / "u" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"torn")
    source = ZarrSpec(path=str(tmp_path / "a.zarr"))
    assert describe(source, ["u"], split=Split(time={"train": 0.5})).parts["train"].times == (0, 2)
    with pytest.raises(MissingFile, match=r"the values of a.zarr cannot be read"):
        ingest(source, ["u"])


def test_samples_are_kept_apart_and_share_their_mask(tmp_path: Path) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)  # realization, time, x
    values[1, :, 2] = np.nan
    dataset = xr.Dataset(
        {"u": (("realization", "time", "x"), values)}, coords={"time": ("time", [0.0, 1.0, 2.0])}
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    fields = ingest(
        NetCDFSpec(path=str(tmp_path / "a.nc")), ["u"], split=Split(sample={"train": 1, "test": 1})
    )
    assert fields.info.samples == 2
    assert fields.always_valid().tolist() == [True, True, False, True]
    assert fields.part("test").tensor()[0, :, 0, 0].tolist() == [12, 16, 20]


def test_fields_survive_a_store(tmp_path: Path) -> None:
    fields = ingest(_source(tmp_path, holes=np.s_[:, 0, 0]), ["t", "u"])
    fields.dataset.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as back:
        assert back.load().drop_encoding().identical(fields.dataset.compute())


def test_cells_missing_at_every_time_make_a_static_mask(tmp_path: Path) -> None:
    fields = ingest(_source(tmp_path, holes=np.s_[:, 0, 2]), ["t", "u"])
    assert fields.info.is_masked
    assert fields.dataset["mask"].dims == ("latitude", "longitude")
    assert not fields.always_valid()[3, 2]  # the northern row comes last
    assert int(fields.always_valid().sum()) == 47
    assert np.isnan(fields.dataset["u"].values[:, 3, 2]).all()


def test_cells_missing_at_some_times_make_a_mask_for_each_time(tmp_path: Path) -> None:
    fields = ingest(_source(tmp_path, holes=np.s_[5, 1:3, 2]), ["u", "t"])
    assert fields.dataset["mask"].dims == ("time", "latitude", "longitude")
    assert int(fields.valid().sum()) == 24 * 48 - 2
    assert torch.isfinite(fields.tensor()).all()


def test_missing_values_are_refused_where_no_mask_is_wanted(tmp_path: Path) -> None:
    source = _source(tmp_path, holes=np.s_[5, 1:3, 2])
    with pytest.raises(NotFinite, match="'t' holds 2 missing values; use `mask: auto`"):
        ingest(source, ["t"], mask="none")
    assert not ingest(source, ["u"], mask="none").info.is_masked
    with pytest.raises(NotFinite, match="hold no number at all"):
        ingest(_source(tmp_path, holes=np.s_[:]), ["t"])


def test_infinite_values_are_no_missing_values(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with xr.open_dataset(source.files()[0], decode_times=False) as dataset:
        dataset = dataset.load()
    dataset["t"][3, 1, 1] = np.inf
    dataset.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(NotFinite, match="'t' holds 1 infinite"):
        ingest(NetCDFSpec(path=str(tmp_path / "b.nc")), ["t"])


def test_a_region_is_cut_across_the_date_line_and_greenwich(tmp_path: Path) -> None:
    source = _source(tmp_path)
    whole = ingest(source, ["t"]).tensor()
    fields = ingest(
        source,
        ["t"],
        select={"longitude": (-60.0, 60.0), "latitude": (-10.0, 30.0), "time": ("2001", "2001-06")},
    )
    assert fields.dataset["longitude"].values.tolist() == [-60, -30, 0, 30, 60]
    assert fields.info.shape == (3, 5)
    assert not fields.info.axes[1].periodic
    assert fields.info.time.size == 6
    expected = torch.roll(whole, 2, dims=3)[:, 12:18, 1:, :5]
    assert torch.equal(fields.tensor(), expected)


def test_selections_that_hold_nothing_are_refused_with_what_is_there(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with pytest.raises(EmptySelection, match=r"latitude 40..50 and holds nothing of -30..30"):
        describe(source, ["t"], select={"latitude": (40.0, 50.0)})
    with pytest.raises(EmptySelection, match=r"time 2011..2012 and holds nothing of 2000-01-15..2001-12-15"):
        describe(source, ["t"], select={"time": ("2011", "2012")})
    with pytest.raises(EmptySelection, match="names 'depth', which is no axis"):
        describe(source, ["t"], select={"depth": (0.0, 1.0)})


def test_units_are_refused_by_the_name_of_the_variable(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with pytest.raises(UnknownUnit, match="'t' in 'K' cannot be converted to 'm'"):
        describe(source, ["t"], units={"t": "m"})
    with pytest.raises(DataError, match="'n' states no units"):
        describe(source, ["n"], units={"n": "m"})
    with pytest.raises(DataError, match="`units` names 'v', which is not ingested"):
        describe(source, ["t"], units={"v": "m"})
    assert describe(source, ["n"]).variables["n"] == "1"


def _row(longitudes: list[float]) -> xr.Dataset:
    return xr.Dataset({"u": ("longitude", np.array(longitudes) % 360)}, coords={"longitude": longitudes})


def test_longitudes_that_jump_are_rolled_and_a_repeated_meridian_is_dropped() -> None:
    rolled = tidied(_row([0.0, 90.0, 180.0, -90.0]))
    assert rolled["longitude"].values.tolist() == [0, 90, 180, 270]
    assert rolled["u"].values.tolist() == [0, 90, 180, 270]
    cyclic = tidied(_row([0.0, 90.0, 180.0, 270.0, 360.0]))
    assert cyclic["longitude"].values.tolist() == [0, 90, 180, 270]
    kept = tidied(_row([20.0, 110.0, 200.0, 290.0]))
    assert kept["longitude"].values.tolist() == [20, 110, 200, 290]
    with pytest.raises(DataError, match="neither increases nor decreases"):
        tidied(xr.Dataset({"u": ("x", [1.0, 2.0, 3.0])}, coords={"x": [0.0, 2.0, 1.0]}))


def test_only_longitudes_that_close_the_circle_are_periodic() -> None:
    assert is_global(np.arange(20.0, 380.0, 2.5))  # as in the monthly navy winds
    assert is_global(np.linspace(0, 360, 432, endpoint=False, dtype=np.float32).astype(np.float64))
    assert not is_global(np.linspace(225.0, 315.0, 49))
    assert not is_global(np.array([0.0, 100.0, 200.0, 300.0, 320.0]))


def test_a_whole_turn_keeps_every_meridian() -> None:
    assert select_range(_row([0.0, 90.0, 180.0, 270.0]), "longitude", -180.0, 180.0).sizes["longitude"] == 4


def test_the_sea_surface_temperatures_of_the_examples_are_read() -> None:
    pytest.importorskip("iris_sample_data", reason="the extra `examples` is not installed")
    source = NetCDFSpec(path="pkg://iris_sample_data/ostia_monthly.nc")
    split = Split(time={"train": "..2009-03", "valid": "2009-04..2009-09", "test": "2009-10.."})
    fields = ingest(source, ["surface_temperature"], split=split)
    assert fields.info.shape == (18, 432)
    assert fields.info.axes[1].periodic
    assert fields.info.time.step == "P1M"
    assert [fields.info.parts[part].times for part in ("train", "valid", "test")] == [
        (0, 36),
        (36, 42),
        (42, 54),
    ]
    assert 1 - float(fields.always_valid().double().mean()) == pytest.approx(0.264, abs=1e-3)
    assert "Open Government Licence" in fields.dataset.attrs["licence"]


def test_a_calendar_of_360_days_goes_through() -> None:
    pytest.importorskip("iris_sample_data", reason="the extra `examples` is not installed")
    source = NetCDFSpec(path="pkg://iris_sample_data/A1B_north_america.nc")
    info = describe(source, ["air_temperature"], split=Split(time={"train": "..1999", "test": "2000.."}))
    assert (info.time.step, info.time.calendar) == ("P1Y", "360_day")
    assert info.parts["train"].num_times == 140
