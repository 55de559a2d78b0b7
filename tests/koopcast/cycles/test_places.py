"""Where reports stand: between grid points, beside masked cells, above and below the ground."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from benchmarks.cycle import START, Persistence, clock
from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.initial import ClimatologySpec
from koopcast.assimilation.letkf import LETKFSpec
from koopcast.cycles.chain import Chain
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.heights import GroundOptions, HeightOptions, Heights, standard_ratio
from koopcast.cycles.places import Places
from koopcast.cycles.reports import Reason
from koopcast.cycles.thinning import thinned
from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.geometry import Domain
from koopcast.stores.files import read_table

LATITUDE, LONGITUDE = np.arange(-60.0, 61, 20), np.arange(0.0, 360, 30)
GRID = (
    Axis("latitude", len(LATITUDE), "latitude", units="degrees_north"),
    Axis("longitude", len(LONGITUDE), "longitude", periodic=True, length=360.0, units="degrees_east"),
)
DOMAIN = Domain(GRID, (torch.from_numpy(LATITUDE), torch.from_numpy(LONGITUDE)))
EVERYWHERE = torch.ones(DOMAIN.shape, dtype=torch.bool)
NO_LEAST = {"t": 0.0, "u": 0.0}


def table(latitude: list[float], longitude: list[float], **columns: object) -> pd.DataFrame:
    base = {
        "time": START, "variable": "u", "station": "", "qc": "", "value": 0.0, "error": 1.0, "height": np.nan,
        "received_at": pd.NaT, "reason": np.int8(Reason.USED),
    }  # fmt: skip
    place = {"latitude": latitude, "longitude": longitude}
    return pd.DataFrame({**place, **{**base, **columns}}, index=range(len(latitude)))


def seen(places: Places, reports: pd.DataFrame, field: np.ndarray) -> np.ndarray:
    """What the reports of the second of two variables see of a field."""
    cells = torch.stack((torch.full(DOMAIN.shape, -99.0), torch.from_numpy(field).float()), dim=-1).flatten()
    index, weights = places.around(reports)
    return (cells.double()[index] * weights).sum(dim=1).numpy()


def test_a_field_that_is_linear_along_each_axis_is_seen_exactly_between_points() -> None:
    places = Places(DOMAIN, EVERYWHERE, NO_LEAST, "bilinear")
    # 2 + 3 north is linear everywhere; times 1 + east / 300 it is so within each cell but that of the seam.
    field = (2 + 3 * LATITUDE)[:, None] * (1 + LONGITUDE / 300)
    reports = places.place(table([7.0, -59.0, 40.0, 0.0], [100.0, 14.0, 329.0, -40.0]))
    expected = (2 + 3 * reports["latitude"]) * (1 + reports["longitude"] % 360 / 300)
    assert np.allclose(seen(places, reports, field), expected, rtol=1e-6)
    # Across the seam, between 330 and 0 (360): a third of the way.
    over = places.place(table([20.0, 20.0], [340.0, -20.0]))
    at = (2 + 3 * 20) * ((1 + 330 / 300) * 2 / 3 + 1 / 3)
    assert np.allclose(seen(places, over, field), at, rtol=1e-6)
    # Half an interval beyond the last point is seen there, as the nearest cell is; further is outside.
    beyond = places.place(table([69.0, 71.0], [60.0, 60.0]))
    assert beyond["reason"].tolist() == [Reason.USED, Reason.OUTSIDE_GRID]
    assert np.allclose(seen(places, beyond[:1], field), (2 + 3 * 60) * 1.2, rtol=1e-6)


@pytest.mark.parametrize("east", [[0.0, 2.0, 4.0, 6.0], [176.0, 178.0, 180.0, 182.0], [6.0, 4.0, 2.0, 0.0]])
def test_beside_a_part_of_the_globe_reports_are_seen_at_its_nearer_edge(east: list[float]) -> None:
    axes = (Axis("latitude", 2, "latitude"), Axis("longitude", 4, "longitude"))
    part = Domain(axes, (torch.tensor([0.0, 2.0]).double(), torch.tensor(east).double()))
    west, far = min(east), max(east)
    lie = np.array([west - 0.9, west, west + 0.5, far, far + 0.9])
    seen_at = [west, west, west + 0.5, far, far]
    field = torch.tensor([east, east]).double().flatten()
    places = Places(part, torch.ones(2, 4, dtype=torch.bool), {"u": 0.0}, "bilinear")
    for turn in (-360.0, 0.0, 360.0):
        reports = places.place(table([1.0] * 5, (lie + turn).tolist()))
        assert (reports["reason"] == Reason.USED).all()
        index, weights = places.around(reports)
        assert np.allclose((field[index] * weights).sum(dim=1), seen_at, rtol=1e-9)
    assert (places.place(table([1.0], [west - 1.1]))["reason"] == Reason.OUTSIDE_GRID).all()


def test_at_grid_points_both_positions_are_the_cell_itself() -> None:
    field = np.random.default_rng(0).standard_normal(DOMAIN.shape)
    reports = table([-60.0, 0.0, 60.0], [0.0, 360.0, -30.0])
    found = [
        seen(places, places.place(reports), field)
        for position in ("nearest", "bilinear")
        for places in [Places(DOMAIN, EVERYWHERE, NO_LEAST, position)]
    ]
    assert np.allclose(found[0], found[1], atol=1e-9)
    assert np.allclose(found[0], field[[0, 3, 6], [0, 0, 11]], rtol=1e-6)


def test_masked_cells_have_no_weight_and_refuse_what_stands_on_them() -> None:
    valid = EVERYWHERE.clone()
    valid[3, 4] = False
    places = Places(DOMAIN, valid, NO_LEAST, "bilinear")
    field = np.zeros(DOMAIN.shape)
    field[3, 3], field[4, 3], field[4, 4], field[3, 4] = 1.0, 2.0, 3.0, 1e6
    # Around (5, 102): (0, 90), (20, 90), (20, 120) by .45, .15, .1, and the masked (0, 120) by .3.
    reports = places.place(table([5.0, 1.0], [102.0, 119.0]))
    assert reports["reason"].tolist() == [Reason.USED, Reason.MASKED_CELL]
    expected = (0.45 * 1 + 0.15 * 2 + 0.1 * 3) / 0.7
    assert np.allclose(seen(places, reports[:1], field), expected, rtol=1e-6)
    assert np.allclose(places.around(reports[:1])[1].sum(dim=1), 1)


def fields(values: np.ndarray) -> FieldData:
    coords = {
        "time": pd.date_range("2019-01-01", periods=len(values), freq="6h"),
        "latitude": LATITUDE,
        "longitude": LONGITUDE,
    }
    dataset = xr.Dataset({"u": (("time", "latitude", "longitude"), values)}, coords)
    return FieldData(
        dataset, FieldsInfo({"u": "K"}, GRID, TimeAxis(len(values), "PT6H", calendar="standard"))
    )


def chain(method: object, **options: object) -> Chain:
    g = np.random.default_rng(1)
    north, east = np.deg2rad(LATITUDE)[:, None], np.deg2rad(LONGITUDE)
    waves = [
        np.cos(north),
        np.cos(north) * np.cos(east),
        np.cos(north) * np.sin(east),
        np.sin(2 * north) + 0 * east,
    ]
    values = 280 + sum(g.standard_normal((30, 1, 1)) * (wave + 0 * east) for wave in waves)
    data = fields(values)
    return Chain(Persistence(data.info), method, ClimatologySpec(), data, clock(), 1, 0, **options)


@pytest.mark.parametrize(
    "method",
    [ETKFSpec(members=12), LETKFSpec(members=12, localization={"kind": "gaspari_cohn", "radius": 15.0})],
)
def test_feedback_compares_a_report_with_what_it_sees_of_the_fields(method: object, tmp_path) -> None:
    between = chain(method, position="bilinear")
    reports = between.places.place(table([7.0, 31.0], [100.0, 200.0], value=[283.0, 278.0], error=0.5))
    _, analysed = between.run(0, between.first(), reports, tmp_path)
    feedback = read_table(tmp_path / "feedback.parquet")
    fields = analysed.isel(time=0)
    wrapped = fields.pad(longitude=(0, 1), mode="wrap").assign_coords(longitude=np.append(LONGITUDE, 360))
    at = {name: xr.DataArray(reports[name], dims="report") for name in ("latitude", "longitude")}
    shown = wrapped.interp(at)
    # Fields are kept in single precision.
    assert np.allclose(feedback["background"], shown["u_background"], atol=1e-4)
    assert np.allclose(feedback["analysis"], shown["u"], atol=1e-4)
    assert np.allclose(feedback["ob"], [283, 278] - shown["u_background"], atol=1e-4)
    members = between.first().ensemble[0].reshape(12, *DOMAIN.shape).numpy()
    members = xr.DataArray(
        members, {"latitude": LATITUDE, "longitude": LONGITUDE}, ("member", "latitude", "longitude")
    )
    assert np.allclose(feedback["background_spread"], members.interp(at).std("member", ddof=1), atol=1e-6)
    assert (feedback["oa"].abs() < feedback["ob"].abs()).all()
    increment = np.abs(fields["u"] - fields["u_background"])
    assert float(increment.sel(latitude=0, longitude=90)) > 0.1
    if isinstance(method, LETKFSpec):
        # Beyond twice the half-support, 55 degrees from the nearest cells, nothing is known of the reports.
        assert float(increment.sel(latitude=[-60, -40, -20], longitude=[270, 300, 330]).max()) == 0


def test_at_grid_points_both_positions_have_one_analysis(tmp_path) -> None:
    analyses = []
    for position in ("nearest", "bilinear"):
        own = chain(ETKFSpec(members=8), position=position)
        reports = own.places.place(table([0.0, 20.0], [90.0, 330.0], value=[283.0, 278.0]))
        (tmp_path / position).mkdir()
        analyses.append(own.run(0, own.first(), reports, tmp_path / position)[1]["u"].values)
    assert np.allclose(*analyses, rtol=1e-6)
    assert not np.allclose(analyses[0], 280)


def test_a_superobservation_stands_at_the_mean_place_of_its_reports() -> None:
    reports = table([10.0, 14.0], [359.0, 5.0], cell=7, value=[1.0, 4.0], error=[1.0, 2.0])
    mean = thinned(reports, np.array([1, 1]), "mean", GRID).iloc[0]
    # Weights 1 and 1/4: a fifth of the way, over the seam by 6 degrees.
    assert np.allclose([mean["latitude"], mean["longitude"], mean["value"]], [10.8, 360.2, 1.6])


def test_a_window_that_starts_from_the_climatology_knows_no_earlier_report(tmp_path) -> None:
    late = table([0.0], [90.0], value=[283.0], time=START + pd.Timedelta(hours=6))
    found = {}
    for first_guess in ("previous_analysis", "climatology"):
        for value in (275.0, 290.0):
            own = chain(ETKFSpec(members=8), first_guess=first_guess)
            early = own.places.place(table([0.0], [90.0], value=[value]))
            folder = tmp_path / f"{first_guess}{value}"
            for number in "01":
                (folder / number).mkdir(parents=True)
            _, before = own.run(0, own.first(), early, folder / "0")
            placed = own.places.place(late)
            _, after = own.run(1, own.restored(folder / "0"), placed, folder / "1")
            for number, data in (("0", before), ("1", after)):
                found[first_guess, value, number] = data[sorted(data)].to_array().values
    for guess, is_independent in (("climatology", True), ("previous_analysis", False)):
        assert not np.allclose(found[guess, 275.0, "0"], found[guess, 290.0, "0"])
        assert np.array_equal(found[guess, 275.0, "1"], found[guess, 290.0, "1"]) == is_independent
    # Each window has a draw of its own, and the first one that of a chain.
    assert np.array_equal(found["climatology", 275.0, "0"], found["previous_analysis", 275.0, "0"])
    assert not np.array_equal(own.first(0).ensemble, own.first(1).ensemble)
    assert np.array_equal(own.first(1).ensemble, own.first(1).ensemble)


GROUND = torch.from_numpy(np.add.outer(10 * LATITUDE + 600, 0 * LONGITUDE)).flatten()


def placed(position: str, reports: pd.DataFrame, **options: object) -> pd.DataFrame:
    heights = Heights(GROUND, {"u": HeightOptions(**options)})
    return Places(DOMAIN, EVERYWHERE, NO_LEAST, position, heights).place(reports)


def test_temperatures_move_to_the_ground_of_the_model_by_the_lapse_rate() -> None:
    # The ground is at 600 m at the equator and at 800 m at 20 N; the third report is of another variable.
    reports = table(
        [5.0, 5.0, 5.0], [0.0, 0.0, 0.0], value=280.0, height=[900.0, 100.0, 900.0], variable=["u", "u", "t"]
    )
    near = placed("nearest", reports)
    assert np.allclose(near["value"], [280 + 0.0065 * 300, 280 - 0.0065 * 500, 280])
    between = placed("bilinear", reports, rate=0.01, error_per_km=4.0)
    # Between them it is at 650 m: 250 m and 550 m away.
    assert np.allclose(between["value"], [282.5, 274.5, 280])
    assert np.allclose(between["error"], [2**0.5, (1 + 2.2**2) ** 0.5, 1])


def test_far_heights_are_refused_and_unknown_ones_by_choice() -> None:
    reports = table([0.0] * 4, [0.0] * 4, value=280.0, height=[1400.0, 1401.0, -201.0, np.nan])
    refused = placed("nearest", reports)
    far = Reason.HEIGHT_DIFFERENCE
    assert refused["reason"].tolist() == [Reason.USED, far, far, Reason.NO_HEIGHT]
    assert refused["value"].tolist() == [280 + 0.0065 * 800, 280, 280, 280]
    used = placed("nearest", reports, unknown="use", max_difference=900.0, correction="none")
    assert used["reason"].eq(Reason.USED).all()
    assert used["value"].eq(280).all()


def test_pressure_moves_by_the_standard_atmosphere() -> None:
    # US Standard Atmosphere 1976, table I: 1013.25, 898.76, 795.01 and 540.48 hPa at 0, 1000, 2000 and 5000 m
    # of geometric height; the law is in geopotential heights, 999.84, 1999.37 and 4996.07 m.
    table_of = np.array([1013.25, 898.76, 795.01, 540.48])
    heights = np.array([0.0, 999.84, 1999.37, 4996.07])
    assert np.allclose(standard_ratio(np.zeros(4), heights) * 1013.25, table_of, atol=0.01)
    reports = table([0.0], [0.0], value=95000.0, error=100.0, height=[500.0])
    moved = placed("nearest", reports, correction="pressure")
    # From 500 m to 600 m: ((288.15 - 3.9) / (288.15 - 3.25))^5.25588 = 0.988065.
    assert np.allclose(moved["value"], 95000 * 0.988065, rtol=2e-6)
    assert np.allclose(moved["error"], 98.8065, rtol=2e-6)


def test_the_ground_is_read_on_the_grid_of_the_model(tmp_path) -> None:
    heights = np.add.outer(LATITUDE + 100, LONGITUDE)
    east = np.where(LONGITUDE >= 180, LONGITUDE - 360, LONGITUDE)
    order = np.argsort(east)
    coords = {
        "lat": ("lat", LATITUDE[::-1].copy(), {"units": "degrees_north"}),
        "lon": ("lon", east[order], {"units": "degrees_east"}),
    }
    turned = heights[::-1][:, order]
    for name, factor, units in (("m", 1, "m"), ("z", 9.80665, "m**2 s**-2")):
        variable = (("lat", "lon"), turned * factor, {"units": units})
        xr.Dataset({name: variable}, coords).to_netcdf(tmp_path / f"{name}.nc")
        ground = GroundOptions(path=str(tmp_path / f"{name}.nc"), variable=name).on(DOMAIN)
        assert np.allclose(ground.reshape(DOMAIN.shape), heights)
    other = Domain(GRID, (torch.from_numpy(LATITUDE + 1), torch.from_numpy(LONGITUDE)))
    with pytest.raises(DataError, match="other points along latitude"):
        GroundOptions(path=str(tmp_path / "m.nc"), variable="m").on(other)
    with pytest.raises(ValidationError, match=r"variables\.t\.height needs the ground"):
        TableInboxSpec.model_validate({"path": "x.csv", "variables": {"t": {"height": {}}}})


def test_options_of_the_inbox_name_the_ground_and_what_stands_on_it(tmp_path) -> None:
    coords = {
        "lat": ("lat", LATITUDE, {"units": "degrees_north"}),
        "lon": ("lon", LONGITUDE, {"units": "degrees_east"}),
    }
    ground = np.full(DOMAIN.shape, 250.0)
    xr.Dataset({"z": (("lat", "lon"), ground, {"units": "m"})}, coords).to_netcdf(tmp_path / "ground.nc")
    spec = TableInboxSpec.model_validate(
        {
            "path": "x.csv",
            "ground": {"path": "ground.nc", "variable": "z"},
            "variables": {"t": {}, "u": {"height": {}}},
        },
        context={"folder": tmp_path},
    )
    heights = spec.heights(DOMAIN)
    assert heights is not None
    assert set(heights.variables) == {"u"}
    assert heights.ground.unique().tolist() == [250.0]
    assert TableInboxSpec(path="x.csv").heights(DOMAIN) is None
    wrong = spec.model_copy(update={"ground": GroundOptions(path=str(tmp_path / "ground.nc"), variable="t")})
    with pytest.raises(DataError, match=r"'ground\.nc' holds no variable 't'; it holds z"):
        wrong.heights(DOMAIN)
