import numpy as np
import pytest
import xarray as xr

from koopcast.errors import EmptySelection
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.metrics import EnergySpectrumSpec, Verification

LINE = (Axis("x", 64, periodic=True, length=2.0),)
SQUARE = (Axis("y", 32, periodic=True, length=1.0), Axis("x", 32, periodic=True, length=1.0))


def array(values, space):
    dims = ("sample", "time", "lead", *(axis.name for axis in space))
    return xr.DataArray(
        np.asarray(values)[None, :, None], dims=dims, coords={"lead": [1]}, name="t", attrs={"units": "K"}
    )


def score(forecast, truth, space, **options):
    return EnergySpectrumSpec(**options).score(
        Verification(array(forecast, space), array(truth, space), axes=space)
    )


def waves(k, size=64):
    return np.cos(2 * np.pi * k * np.arange(size) / size)


def test_a_wave_has_its_energy_at_its_wavenumber_and_half_its_variance_in_all():
    field = 3.0 * waves(5)[None] + 10.0
    curve = score(field, field, LINE).curve.sel(source="truth", lead=1)
    assert float(curve.sel(wavenumber=5.0)) == pytest.approx(9 / 4)
    assert float(curve.sum()) == pytest.approx(0.5 * field.var())
    assert curve.attrs["units"] == "K2"


@pytest.mark.parametrize("size", [31, 32])
def test_the_spectrum_sums_to_half_the_variance_on_periodic_and_closed_axes(size):
    field = np.random.default_rng(0).normal(size=(20, size))
    for periodic in (True, False):
        axes = (Axis("x", size, periodic=periodic),)
        curve = score(field, field, axes).curve.sel(source="truth", lead=1)
        assert float(curve.sum()) == pytest.approx(0.5 * field.var(axis=1).mean())


def test_a_slope_along_a_closed_axis_does_not_alias_to_small_scales():
    # The jump that a period would put at the seam of a ramp fills the FFT spectrum as k⁻²;
    # the cosine one falls as k⁻⁴.
    field = np.arange(64.0)[None]
    closed = score(field, field, (Axis("x", 64),)).curve.sel(source="truth", lead=1)
    jump = score(field, field, LINE).curve.sel(source="truth", lead=1)
    assert float(closed[-1]) < 1e-2 * float(jump[-1])


def test_an_isotropic_field_of_one_ring_stays_in_its_ring():
    y, x = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    field = np.cos(2 * np.pi * (3 * x + 4 * y) / 32)[None]
    curve = score(field, field, SQUARE).curve.sel(source="truth", lead=1)
    assert float(curve.sel(wavenumber=5.0)) == pytest.approx(0.25)
    assert float(curve.sum()) == pytest.approx(0.25)


def test_half_the_amplitude_is_six_decibels_away():
    field = np.random.default_rng(0).normal(size=(3, 64))
    found = score(0.5 * field, field, LINE)
    assert found.pooled == pytest.approx(20 * np.log10(2))
    assert (found.units, score(field, field, LINE).pooled) == ("dB", 0.0)


def test_round_off_at_empty_wavenumbers_is_not_compared():
    field = waves(3)[None]
    noise = 1e-7 * np.random.default_rng(0).normal(size=(1, 64))
    assert score(field + noise, field, LINE).pooled == pytest.approx(0.0, abs=1e-3)
    assert score(field + noise, field, LINE, floor=1e-18).pooled > 10


def test_members_are_transformed_one_by_one():
    rng = np.random.default_rng(0)
    truth, members = rng.normal(size=(200, 64)), rng.normal(size=(1, 20, 200, 1, 64))
    m = xr.DataArray(members, dims=("sample", "member", "time", "lead", "x"), coords={"lead": [1]}, name="t")
    pair = Verification(m.mean("member").rename("t"), array(truth, LINE), members=m, axes=LINE)
    mean_only = Verification(pair.forecast, pair.truth, axes=LINE)
    assert EnergySpectrumSpec().score(pair).pooled < 1.0
    # The mean of 20 white fields has a twentieth of their energy: 13 dB.
    assert EnergySpectrumSpec().score(mean_only).pooled == pytest.approx(10 * np.log10(20), abs=1.0)


def test_of_masked_rows_the_largest_gap_free_block_is_used_across_the_seam_too():
    rng = np.random.default_rng(0)
    axes = (Axis("y", 3), Axis("x", 32, periodic=True))
    field = rng.normal(size=(5, 3, 32))
    block = field[:, :2][..., np.r_[20:32, 0:8]]
    masked = field.copy()
    masked[:, :, 8:20] = np.nan
    masked[:, 2, ::3] = np.nan
    curve = score(np.nan_to_num(masked), masked, axes).curve.sel(source="truth", lead=1)
    alone = score(block, block, (Axis("y", 2), Axis("x", 20))).curve.sel(source="truth", lead=1)
    np.testing.assert_allclose(curve.values, alone.values)
    np.testing.assert_allclose(curve["wavenumber"], alone["wavenumber"] * 32 / 20)


def test_rows_without_eight_cells_on_end_are_refused():
    field = np.ones((1, 32))
    field[:, ::5] = np.nan
    with pytest.raises(EmptySelection, match="8 valid cells"):
        score(np.nan_to_num(field), field, (Axis("x", 32),))


@pytest.mark.parametrize(
    ("axis", "options", "message"),
    [
        (Axis("state", 3, "index"), {}, "spectrum needs 8"),
        (Axis("state", 20, "index"), {}, "no order in space"),
        (Axis("x", 20), {"axis": "z"}, "unknown axis 'z'; the fields have x"),
    ],
)
def test_check_names_the_axis_that_has_no_spectrum(axis, options, message):
    info = FieldsInfo({"u": "1"}, (axis,), TimeAxis(10, 1.0))
    assert any(message in problem.message for problem in EnergySpectrumSpec(**options).check(info))
    ring = FieldsInfo({"u": "1"}, (Axis("state", 40, "index", periodic=True),), TimeAxis(10, 1.0))
    assert not list(EnergySpectrumSpec().check(ring))
