import numpy as np
import pytest
import xarray as xr

from koopcast.errors import InvalidInput
from koopcast.metrics import SpreadSkillSpec, Verification


def ensemble_pair(members, truth):
    dims = ("sample", "member", "time", "lead", "x")
    m = xr.DataArray(
        np.asarray(members, float)[None, :, :, None, None], dims=dims, coords={"lead": [0]}, name="t"
    )
    t = xr.DataArray(
        np.asarray(truth, float)[None, :, None, None],
        dims=("sample", "time", "lead", "x"),
        coords={"lead": [0]},
    )
    return Verification(m.mean("member").rename("t"), t.rename("t"), members=m)


def test_spread_over_error_by_hand():
    # Members -1 and 1: variance 2 over N - 1; truth 3: error 3. √(3/2 · 2) / 3 = 1/√3.
    assert SpreadSkillSpec().score(ensemble_pair([[-1.0], [1.0]], [3.0])).pooled == pytest.approx(
        1 / np.sqrt(3)
    )


@pytest.mark.parametrize("num_members", [2, 5, 40])
def test_an_exchangeable_truth_gives_one_for_every_size(num_members):
    rng = np.random.default_rng(num_members)
    cases = 60_000
    drawn = rng.normal(size=(num_members + 1, cases))
    value = SpreadSkillSpec().score(ensemble_pair(drawn[1:], drawn[0])).pooled
    # Squared error of the mean: relative standard error √(2 / cases); its root half of that,
    # the spread adds less.
    assert abs(value - 1) < 6 * np.sqrt(2 / cases)


def test_an_ensemble_half_as_wide_as_its_error_scores_one_half():
    rng = np.random.default_rng(0)
    truth, members = rng.normal(size=50_000), rng.normal(size=(500, 50_000)) * 0.5
    assert SpreadSkillSpec().score(ensemble_pair(members, truth)).pooled == pytest.approx(0.5, abs=0.01)


def test_a_forecast_without_an_ensemble_is_refused():
    pair = ensemble_pair([[0.0]], [1.0])
    with pytest.raises(InvalidInput, match="two members"):
        SpreadSkillSpec().score(pair)
