import numpy as np
import pytest
import xarray as xr

from koopcast.errors import InvalidInput
from koopcast.metrics import Verification
from koopcast.metrics.log_score import LogScoreSpec


def pair(members, truth):
    dims = ("sample", "member", "time", "lead", "x")
    m = xr.DataArray(np.asarray(members, float)[None, :, :, None, None], dims=dims, coords={"lead": [0]})
    t = xr.DataArray(
        np.asarray(truth, float)[None, :, None, None],
        dims=("sample", "time", "lead", "x"),
        coords={"lead": [0]},
    )
    return Verification(m.mean("member").rename("t"), t.rename("t"), members=m.rename("t"))


def test_the_score_by_hand():
    # Members 0 and 2: mean 1, variance 2; truth 3: ½ log 4π + 4/4.
    found = LogScoreSpec().score(pair([[0.0], [2.0]], [3.0])).pooled
    assert found == pytest.approx(0.5 * np.log(4 * np.pi) + 1)


def test_the_true_distribution_scores_its_entropy_and_any_other_more():
    generator = np.random.default_rng(0)
    truth, members = generator.normal(size=20_000), generator.normal(size=(200, 20_000))
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    score = {width: LogScoreSpec().score(pair(width * members, truth)).pooled for width in (0.7, 1.0, 1.4)}
    # Sampled moments cost about 1/N; the mean of 20000 half χ² has the standard error 0.005.
    assert score[1.0] == pytest.approx(entropy + 1 / 200, abs=0.03)
    assert score[0.7] > score[1.0] + 0.1
    assert score[1.4] > score[1.0] + 0.05


def test_a_single_state_has_no_score():
    with pytest.raises(InvalidInput, match="two members"):
        LogScoreSpec().score(pair([[0.0]], [1.0]))
