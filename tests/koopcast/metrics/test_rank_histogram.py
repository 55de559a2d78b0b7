import numpy as np
import pytest
import xarray as xr

from koopcast.metrics import RankHistogramSpec, Verification

CASES, MEMBERS = 20_000, 9


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


def histogram(spread=1.0, shift=0.0, **options):
    rng = np.random.default_rng(0)
    pair = ensemble_pair(spread * rng.normal(size=(MEMBERS, CASES)) + shift, rng.normal(size=CASES))
    return RankHistogramSpec(**options).score(pair)


def test_ranks_count_the_members_below_the_truth():
    members = np.broadcast_to([[1.0], [2.0], [3.0]], (3, 4))
    curve = RankHistogramSpec().score(ensemble_pair(members, [0.0, 2.5, 2.6, 9.0])).curve
    assert curve.sel(lead=0).values.tolist() == [0.25, 0.0, 0.5, 0.25]


def test_an_exchangeable_truth_is_flat_and_its_contrasts_are_standard_normal():
    score = histogram()
    # Each frequency has the standard error √(p (1 - p) / cases) with p = 1/10.
    assert np.abs(score.curve.values - 0.1).max() < 6 * np.sqrt(0.09 / CASES)
    assert 0.1 < score.pooled < 3.0
    assert all(abs(component.item()) < 6 for component in score.components.values())


def test_a_narrow_ensemble_gives_a_u_and_a_wide_one_a_dome():
    narrow, wide = histogram(spread=0.5), histogram(spread=2.0)
    assert narrow.curve.values[0, 0] > 0.15 > 0.06 > narrow.curve.values[0, 4]
    assert wide.curve.values[0, 0] < 0.05 < 0.12 < wide.curve.values[0, 4]
    assert narrow.components["curvature"].item() > 20
    assert wide.components["curvature"].item() < -20
    assert min(narrow.pooled, wide.pooled) > 50


def test_an_ensemble_that_is_too_low_slopes_upwards():
    score = histogram(shift=-0.5)
    assert score.components["slope"].item() > 20
    assert histogram(shift=0.5).components["slope"].item() < -20


def test_a_truth_that_equals_members_takes_a_random_place_among_them():
    # All members and the truth are 0: every rank is as likely, and the same seed draws the same ranks.
    pair = ensemble_pair(np.zeros((MEMBERS, CASES)), np.zeros(CASES))
    first, second = (RankHistogramSpec(seed=4).score(pair).curve for _ in range(2))
    assert np.abs(first.values - 0.1).max() < 6 * np.sqrt(0.09 / CASES)
    xr.testing.assert_identical(first, second)


def test_thinning_undoes_the_repetition_of_cases():
    # Every case five times over: χ² grows fivefold, thinned it is what it was.
    rng = np.random.default_rng(1)
    members, truth = rng.normal(size=(MEMBERS, 2000)), rng.normal(size=2000)
    once = RankHistogramSpec().score(ensemble_pair(members, truth)).pooled
    repeated = ensemble_pair(np.repeat(members, 5, axis=1), np.repeat(truth, 5))
    assert RankHistogramSpec().score(repeated).pooled == pytest.approx(5 * once)
    assert RankHistogramSpec(every_record=5).score(repeated).pooled == pytest.approx(once)


def test_masked_cases_are_not_counted():
    members = np.broadcast_to([[1.0], [2.0]], (2, 3))
    curve = RankHistogramSpec().score(ensemble_pair(members, [0.0, np.nan, 0.0])).curve
    assert curve.sel(lead=0).values.tolist() == [1.0, 0.0, 0.0]
