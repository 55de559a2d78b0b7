"""Relative squared error: hand values, the median, masks."""

import numpy as np
import pytest
import xarray as xr

from koopcast.errors import EmptySelection
from koopcast.metrics.base import Verification
from koopcast.metrics.relative_mse import RelativeMSESpec

DIMS = ("sample", "time", "lead", "x")


def pair(forecast: np.ndarray, truth: np.ndarray) -> Verification:
    coords = {"lead": [0]}
    fields = (xr.DataArray(values, dims=DIMS, coords=coords, name="u") for values in (forecast, truth))
    return Verification(*fields)


def fields(factors: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth of two times, and forecasts of it that are wrong by these factors, one a sample."""
    truth = np.ones((len(factors), 2, 1, 4))
    truth[:, 1] = 3.0
    return truth * np.array(factors)[:, None, None, None], truth


def test_it_is_the_squared_error_over_the_size_of_each_field() -> None:
    # A forecast of twice the truth is wrong by its size: 1 at both times, although the second is larger.
    score = RelativeMSESpec().score(pair(*fields([2.0])))
    assert score.pooled == pytest.approx(1.0)
    assert float(score.value.sel(lead=0)) == pytest.approx(1.0)


def test_the_median_does_not_follow_one_sample_that_lost_the_truth() -> None:
    # Errors 0.01, 0.04 and 81: mean 27.0167, median 0.04.
    score = RelativeMSESpec().score(pair(*fields([1.1, 0.8, 10.0])))
    assert score.pooled == pytest.approx(81.05 / 3)
    assert float(score.components["median"].sel(lead=0)) == pytest.approx(0.04)


def test_cells_without_truth_and_fields_of_zeros_carry_no_weight() -> None:
    forecast, truth = fields([2.0, 2.0])
    truth[0, :, :, 0] = np.nan
    truth[1, 0] = 0.0
    assert RelativeMSESpec().score(pair(forecast, truth)).pooled == pytest.approx(1.0)
    with pytest.raises(EmptySelection):
        RelativeMSESpec().score(pair(forecast, np.full_like(truth, np.nan)))
