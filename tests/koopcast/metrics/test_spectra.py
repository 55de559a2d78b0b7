"""Metrics of the spectrum of a model: an oscillation of known period."""

import numpy as np
import pytest
import xarray as xr

from koopcast.metrics import ModeResidualSpec, PeriodErrorSpec, Verification

TRUTH = xr.DataArray(np.zeros((1, 1, 2, 1)), dims=("sample", "time", "lead", "x"), coords={"lead": [1, 3]})


def _spectrum(values: np.ndarray, residuals: list[float]) -> Verification:
    spectrum = xr.Dataset(
        {
            "eigenvalue_real": ("mode", values.real),
            "eigenvalue_imag": ("mode", values.imag),
            "residual": ("mode", residuals),
        }
    )
    return Verification(TRUTH, TRUTH, spectrum=spectrum)


def test_the_mode_with_the_nearest_frequency_is_judged_whatever_its_decay() -> None:
    values = np.array(
        [1.0, 0.9 * np.exp(2j * np.pi / 12.3), 0.9 * np.exp(-2j * np.pi / 12.3), np.exp(2j * np.pi / 6)]
    )
    pair = _spectrum(values, [0.1, 0.2, 0.2, 0.4])
    score = PeriodErrorSpec().score(pair)
    assert score.pooled == pytest.approx(0.3)
    assert score.value.values == pytest.approx([0.3, 0.3])
    assert score.units == "step"
    assert PeriodErrorSpec(period=5).score(pair).pooled == pytest.approx(1.0)
    assert ModeResidualSpec().score(pair).pooled == 0.2
    assert ModeResidualSpec(period=6).score(pair).pooled == 0.4


def test_a_model_that_never_oscillates_misses_every_period() -> None:
    pair = _spectrum(np.array([0.5 + 0j, 0.9 + 0j]), [0.1, 0.2])
    assert PeriodErrorSpec().score(pair).pooled == np.inf
