import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.baselines import ClimatologySpec
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window


def data(values, times, step, calendar, train, mask=None):
    values = np.asarray(values, dtype="f4")
    values = values[None] if values.ndim == 2 else values
    variables = {"u": (("sample", "time", "x"), values)}
    if mask is not None:
        variables["mask"] = (("time", "x"), mask.astype("i1"))
    samples, records, cells = values.shape
    info = FieldsInfo(
        {"u": "K"},
        (Axis("x", cells),),
        TimeAxis(records, step, "", calendar),
        samples=samples,
        parts={"train": Window((0, samples), train), "test": Window((0, samples), (train[1], records))},
        is_masked=mask is not None,
    )
    return FieldData(xr.Dataset(variables, coords={"time": times}), info).part("test")


def monthly(years=4, cells=3, noise=0.0):
    month = np.arange(12 * years) % 12
    cycle = np.cos(2 * np.pi * month / 12)[:, None] * np.arange(1, cells + 1) + 280
    return cycle + noise * np.random.default_rng(0).normal(size=cycle.shape)


MONTHS = xr.date_range("2000-01-16", periods=48, freq="MS")


def test_a_pure_seasonal_cycle_is_forecast_exactly_at_every_lead():
    values = monthly()
    fields = data(values, MONTHS, "P1M", "standard", (0, 36))
    frames = ClimatologySpec().forecast(fields, [35, 36, 40], [1, 3, 6])
    for place, start in enumerate((35, 36, 40)):
        expected = values[start + np.array([1, 3, 6])]
        np.testing.assert_allclose(frames[0, place, :, :, 0], expected, rtol=1e-6)


def test_only_the_training_part_is_known():
    values = monthly()
    values[36:] += 50
    frames = ClimatologySpec().forecast(data(values, MONTHS, "P1M", "standard", (0, 36)), [40], [0])
    np.testing.assert_allclose(frames[0, 0, 0, :, 0], values[4], rtol=1e-6)


def test_model_time_has_one_mean_over_samples_and_times():
    values = np.random.default_rng(0).normal(size=(3, 20, 2))
    frames = ClimatologySpec().forecast(data(values, np.arange(20.0), 0.1, None, (0, 12)), [13, 14], [1])
    assert frames.shape == (3, 2, 1, 2, 1)
    expected = values.astype("f4")[:, :12].mean(axis=(0, 1))
    np.testing.assert_allclose(frames[2, 1, 0, :, 0], expected, rtol=1e-5)


def test_a_training_part_shorter_than_a_year_gives_the_overall_mean():
    values = monthly()
    frames = ClimatologySpec().forecast(data(values, MONTHS, "P1M", "standard", (0, 8)), [10, 20], [0])
    np.testing.assert_allclose(frames[0, 0, 0, :, 0], values[:8].mean(axis=0), rtol=1e-6)
    torch.testing.assert_close(frames[0, 0], frames[0, 1])


def test_the_option_none_gives_the_overall_mean():
    values = monthly()
    fields = data(values, MONTHS, "P1M", "standard", (0, 36))
    frames = ClimatologySpec(season="none").forecast(fields, [40], [1])
    np.testing.assert_allclose(frames[0, 0, 0, :, 0], values[:36].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_daily_fields_of_any_calendar_have_a_mean_for_each_day(calendar):
    times = xr.date_range("1999-01-01", periods=1200, freq="D", calendar=calendar, use_cftime=True)
    day = np.array([time.month * 100 + time.day for time in times], dtype=float)
    frames = ClimatologySpec().forecast(
        data(day[:, None], times, "P1D", calendar, (0, 1000)), [999], [50, 120]
    )
    np.testing.assert_allclose(frames[0, 0, :, 0, 0], day[[1049, 1119]], rtol=1e-6)


def test_six_hourly_fields_have_a_mean_for_each_hour_of_each_day():
    times = xr.date_range("2001-01-01", periods=4 * 800, freq="6h")
    values = (np.arange(3200) % 4)[:, None]
    frames = ClimatologySpec().forecast(
        data(values, times, "PT6H", "standard", (0, 3000)), [3000], [0, 1, 2, 3]
    )
    assert frames[0, 0, :, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_one_harmonic_restores_the_cycle_that_noise_hides():
    values, clean = monthly(noise=1.0), monthly()
    fields = data(values, MONTHS, "P1M", "standard", (0, 36))
    raw, smooth = (
        spec.forecast(fields, range(36, 48), [0])[0, :, 0, :, 0].numpy() - clean[36:]
        for spec in (ClimatologySpec(), ClimatologySpec(harmonics=1))
    )
    # 36 records feed 3 coefficients instead of 12 means: a quarter of the variance.
    assert (smooth**2).mean() < 0.5 * (raw**2).mean()


def test_the_harmonic_fit_is_the_least_squares_fit_to_the_records():
    values = monthly(noise=1.0)
    mask = np.random.default_rng(1).random(values.shape) > 0.3
    fields = data(values, MONTHS, "P1M", "standard", (0, 30), mask=mask)
    frames = ClimatologySpec(harmonics=2).forecast(fields, [40], [0])
    angle = 2 * np.pi * (np.arange(48) % 12) / 12
    B = np.stack([np.ones(48), np.cos(angle), np.cos(2 * angle), np.sin(angle), np.sin(2 * angle)], axis=1)
    for cell in range(3):
        known = mask[:30, cell]
        beta = np.linalg.lstsq(B[:30][known], values[:30][known, cell], rcond=None)[0]
        assert float(frames[0, 0, 0, cell, 0]) == pytest.approx(B[40] @ beta, rel=1e-5)


def test_masked_records_do_not_enter_the_mean():
    values, mask = monthly(), np.ones((48, 3), dtype=bool)
    values[0, 0], mask[0, 0] = 1e6, False
    frames = ClimatologySpec().forecast(
        data(values, MONTHS, "P1M", "standard", (0, 36), mask=mask), [36], [0]
    )
    np.testing.assert_allclose(frames[0, 0, 0, :, 0], values[12], rtol=1e-6)


def test_a_record_past_the_end_is_unknown():
    frames = ClimatologySpec().forecast(data(monthly(), MONTHS, "P1M", "standard", (0, 36)), [47], [0, 1])
    assert torch.isfinite(frames[0, 0, 0]).all()
    assert torch.isnan(frames[0, 0, 1]).all()
