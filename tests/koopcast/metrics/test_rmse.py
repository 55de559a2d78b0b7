import numpy as np
import pytest
import xarray as xr

from koopcast.errors import Diverged, EmptySelection
from koopcast.metrics import CRPSSpec, RMSESpec, Verification


def array(values, dims=("sample", "time", "lead", "x"), **attrs):
    values = np.asarray(values, dtype=np.float64)
    return xr.DataArray(values, dims=dims, coords={"lead": np.arange(values.shape[2])}, name="t", attrs=attrs)


def test_rmse_pools_over_samples_times_and_cells():
    # Errors 3 and 4 in one field, 0 and 0 in the other: √((9 + 16) / 4) = 2.5.
    truth = array(np.zeros((1, 2, 1, 2)), units="K")
    score = RMSESpec().score(Verification(array([[[[3, 4]], [[0, 0]]]]), truth))
    assert score.value.item() == pytest.approx(2.5)
    assert (score.pooled, score.units) == (pytest.approx(2.5), "K")


def test_the_time_mean_takes_the_root_of_each_field_first():
    # √(25 / 2) in one field, 0 in the other: the mean is half of the first.
    truth = array(np.zeros((1, 2, 1, 2)))
    score = RMSESpec(average="time_mean").score(Verification(array([[[[3, 4]], [[0, 0]]]]), truth))
    assert score.value.item() == pytest.approx(np.sqrt(12.5) / 2)


def test_the_median_is_over_samples_of_their_time_means():
    # Time means 1, (2 + 4) / 2 = 3 and 50: the lost one does not decide.
    truth = array(np.zeros((3, 2, 1, 2)))
    errors = array(np.array([[1, 1], [2, 4], [50, 50]])[:, :, None, None] * np.ones((1, 1, 1, 2)))
    score = RMSESpec(average="median").score(Verification(errors, truth))
    assert score.value.item() == pytest.approx(3.0)
    assert score.pooled == pytest.approx(3.0)


def test_each_lead_has_its_own_value_and_the_pooled_one_is_over_all():
    forecast = array(np.stack([np.full((1, 3, 2), 1.0), np.full((1, 3, 2), 7.0)], axis=2))
    score = RMSESpec().score(Verification(forecast, xr.zeros_like(forecast)))
    assert score.value.values.tolist() == [1.0, 7.0]
    assert score.pooled == pytest.approx(5.0)


def test_area_weights_count_a_cell_by_its_size():
    # Weights 3 and 1: √((3 · 1 + 1 · 9) / 4) = √3.
    truth = array(np.zeros((1, 1, 1, 2)))
    pair = Verification(array([[[[1, 3]]]]), truth, area=xr.DataArray([3.0, 1.0], dims="x"))
    assert RMSESpec().score(pair).pooled == pytest.approx(np.sqrt(3))
    assert RMSESpec(weighting="uniform").score(pair).pooled == pytest.approx(np.sqrt(5))


@pytest.mark.parametrize("metric", [RMSESpec(), RMSESpec(average="time_mean"), CRPSSpec()])
def test_masked_cells_carry_no_weight(metric):
    truth = array([[[[0.0, np.nan]], [[0.0, np.nan]]]])
    assert metric.score(Verification(array([[[[2.0, 1e9]], [[2.0, 1e9]]]]), truth)).pooled == pytest.approx(
        2.0
    )


def test_a_truth_without_any_value_is_refused_by_the_name_of_the_variable():
    truth = array(np.full((1, 1, 1, 2), np.nan))
    with pytest.raises(EmptySelection, match="truth of 't'"):
        RMSESpec().score(Verification(xr.zeros_like(truth), truth))


def test_a_forecast_that_is_not_finite_is_refused():
    truth = array(np.zeros((1, 1, 1, 2)))
    with pytest.raises(Diverged, match="1 values"):
        RMSESpec().score(Verification(array([[[[np.inf, 0.0]]]]), truth))


def test_the_score_of_dask_arrays_is_that_of_numpy_arrays():
    rng = np.random.default_rng(0)
    forecast, truth = (array(rng.normal(size=(2, 5, 3, 7))) for _ in range(2))
    lazy = Verification(forecast.chunk(time=2), truth.chunk(time=2))
    assert RMSESpec().score(lazy).pooled == pytest.approx(
        RMSESpec().score(Verification(forecast, truth)).pooled
    )
