"""Relative L2 error and the number of parameters."""

import numpy as np
import pytest
import xarray as xr

from koopcast.metrics import ParametersSpec, RelativeL2Spec, Verification


def array(values: object) -> xr.DataArray:
    return xr.DataArray(
        np.asarray(values, dtype=float)[:, :, None, :],
        dims=("sample", "time", "lead", "x"),
        coords={"lead": [0]},
        name="u",
    )


# Two samples of two records of two cells: the first record is off by (3, 4), the others are exact.
TRUTH = array([[[3.0, 4.0], [6.0, 8.0]], [[0.0, 2.0], [1.0, 0.0]]])
FORECAST = array([[[6.0, 8.0], [6.0, 8.0]], [[0.0, 2.0], [1.0, 0.0]]])


def test_each_record_counts_by_itself_in_a_forecast() -> None:
    # Ratios 1, 0, 0, 0.
    assert RelativeL2Spec().score(Verification(FORECAST, TRUTH)).pooled == pytest.approx(0.25)


def test_all_records_of_a_sample_count_together_in_a_map() -> None:
    # √(25 / 125) and 0.
    score = RelativeL2Spec().score(Verification(FORECAST, TRUTH, is_joint=True))
    assert score.pooled == pytest.approx(0.5 * (25 / 125) ** 0.5)
    assert float(score.value.sel(lead=0)) == pytest.approx(score.pooled)


def test_masked_cells_and_zero_fields_are_left_out() -> None:
    truth = TRUTH.copy()
    truth[0, 0, 0, 1] = np.nan
    truth[1] = 0.0
    # Ratios 3 / 3 and 0 of the first sample; the second has no size.
    assert RelativeL2Spec().score(Verification(FORECAST, truth)).pooled == pytest.approx(0.5)


def test_parameters_are_those_of_the_model() -> None:
    score = ParametersSpec().score(Verification(FORECAST, TRUTH, card={"parameters": 191_881.0}))
    assert score.pooled == 191_881
