import numpy as np
import pytest
import xarray as xr

from koopcast.metrics import CRPSSpec, Verification
from koopcast.metrics.crps import half_pair_distance


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


def test_crps_of_two_members_by_hand():
    # Members 0 and 2, truth 3: E|X - y| = 2; pairs |0 - 2| = 2.
    # Fair: 2 - 2 · 2 / (2 · 2 · 1) = 1; else 2 - 4 / 8 = 1.5.
    pair = ensemble_pair([[0.0], [2.0]], [3.0])
    assert CRPSSpec().score(pair).pooled == pytest.approx(1.0)
    assert CRPSSpec(fair=False).score(pair).pooled == pytest.approx(1.5)


def test_crps_without_an_ensemble_or_with_one_member_is_the_mean_absolute_error():
    pair = ensemble_pair([[1.0, -4.0]], [0.0, 0.0])
    assert CRPSSpec().score(pair).pooled == pytest.approx(2.5)
    alone = Verification(pair.forecast, pair.truth)
    assert CRPSSpec().score(alone).pooled == pytest.approx(2.5)


def test_sorting_gives_the_mean_distance_over_all_pairs():
    x = np.random.default_rng(3).normal(size=(1, 13, 4))
    pairs = np.abs(x[:, :, None] - x[:, None, :]).sum(axis=(1, 2))
    members = xr.DataArray(x, dims=("sample", "member", "time"))
    np.testing.assert_allclose(half_pair_distance(members, True).values, pairs / (2 * 13 * 12), rtol=1e-12)
    np.testing.assert_allclose(half_pair_distance(members, False).values, pairs / (2 * 13 * 13), rtol=1e-12)


def test_crps_of_a_large_normal_ensemble_is_the_closed_form():
    # Gneiting and Raftery 2007: CRPS(N(0, 1), y = 0) = 2 φ(0) - 1/√π = (√2 - 1) / √π.
    from scipy.special import ndtri

    members = ndtri((np.arange(4000) + 0.5) / 4000)[:, None]
    # Quantiles at the midpoints of 4000 equal shares: the error of both sums is below 1e-3.
    assert CRPSSpec().score(ensemble_pair(members, [0.0])).pooled == pytest.approx(
        (np.sqrt(2) - 1) / np.sqrt(np.pi), abs=1e-3
    )


@pytest.mark.parametrize("num_members", [2, 3, 8])
def test_the_expected_fair_crps_does_not_depend_on_the_size_of_the_ensemble(num_members):
    # Members and truth from N(0, 1): E|X - y| - ½ E|X - X'| = ½ · 2/√π = 1/√π for every size.
    rng = np.random.default_rng(num_members)
    cases = 40_000
    members, truth = rng.normal(size=(num_members, cases)), rng.normal(size=cases)
    ordered = np.sort(members, axis=0)
    weights = 2.0 * np.arange(1, num_members + 1) - num_members - 1
    each = np.abs(members - truth).mean(axis=0) - weights @ ordered / (num_members * (num_members - 1))
    value = CRPSSpec().score(ensemble_pair(members, truth)).pooled
    assert abs(value - 1 / np.sqrt(np.pi)) < 6 * each.std() / np.sqrt(cases)
    unfair = CRPSSpec(fair=False).score(ensemble_pair(members, truth)).pooled
    # Dividing by N² leaves 1/(N √π) too much.
    assert abs(unfair - (1 + 1 / num_members) / np.sqrt(np.pi)) < 6 * each.std() / np.sqrt(cases)
