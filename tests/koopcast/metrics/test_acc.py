import numpy as np
import pytest
import xarray as xr

from koopcast.errors import InvalidInput
from koopcast.metrics import ACCSpec, Verification

ANOMALY = np.random.default_rng(0).normal(size=(2, 6, 1, 5, 4))


def array(values):
    return xr.DataArray(values, dims=("sample", "time", "lead", "y", "x"), coords={"lead": [1]}, name="t")


CLIMATOLOGY = array(np.broadcast_to(np.arange(20.0).reshape(5, 4), ANOMALY.shape))


def scored(forecast_anomaly, truth_anomaly=ANOMALY, area=None, **options):
    forecast, truth = CLIMATOLOGY + forecast_anomaly, CLIMATOLOGY + truth_anomaly
    pair = Verification(forecast.rename("t"), truth.rename("t"), climatology=CLIMATOLOGY, area=area)
    return ACCSpec(**options).score(pair).pooled


@pytest.mark.parametrize("average", ["time_mean", "pooled"])
def test_scaled_anomalies_correlate_perfectly_and_reversed_ones_inversely(average):
    assert scored(3.7 * ANOMALY, average=average) == pytest.approx(1.0)
    assert scored(-0.2 * ANOMALY, average=average) == pytest.approx(-1.0)


def test_the_value_is_the_cosine_between_anomalies():
    # Anomalies (1, 0) and (1, 1): cos 45°.
    f, t = np.zeros((1, 1, 1, 1, 2)), np.ones((1, 1, 1, 1, 2))
    f[..., 0] = 1
    pair = Verification(array(f), array(t), climatology=array(np.zeros_like(f)))
    assert ACCSpec().score(pair).pooled == pytest.approx(np.sqrt(0.5))


def test_a_constant_shift_spoils_the_uncentred_correlation_only():
    assert scored(ANOMALY + 5.0, centred=True) == pytest.approx(1.0)
    assert scored(ANOMALY + 5.0) < 0.5


def test_the_climatology_itself_scores_zero():
    assert scored(np.zeros_like(ANOMALY)) == 0.0


def test_fields_whose_truth_has_no_anomaly_carry_no_weight():
    truth = ANOMALY.copy()
    truth[0, 0] = 0.0
    assert scored(np.where(truth == 0, 1.0, truth), truth) == pytest.approx(1.0)


def test_masked_cells_carry_no_weight():
    truth, forecast = ANOMALY.copy(), ANOMALY.copy()
    truth[..., 0, 0], forecast[..., 0, 0] = np.nan, 1e6
    assert scored(forecast, truth, centred=True) == pytest.approx(1.0)


def test_a_missing_climatology_is_named():
    with pytest.raises(InvalidInput, match="climatology"):
        ACCSpec().score(Verification(array(ANOMALY), array(ANOMALY)))
