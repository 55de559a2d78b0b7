"""The finite-size filter: duality with the cost of the weights, the mode of the inflation."""

import pytest
import torch

from koopcast.assimilation.base import whitened
from koopcast.numerics.ensembles import split
from tests.koopcast.assimilation.test_analyses import covariance, method, observed, problem, seeded


def coefficients(C, mode, certainty=1.0):
    """ε and c as in Raanes, Bocquet and Carrassi (2019), from the spectrum of the whole N by N matrix."""
    members = C.shape[0]
    s2 = torch.linalg.eigvalsh(C @ C.T)
    epsilon, c = (members + 1) / members, members / (members - 1)
    correction = (epsilon / c) ** (((members - 1) / (s2 + members - 1)).mean() / 2)
    correction = correction if mode == "corrected" else 1.0
    return certainty * epsilon / correction, certainty * c * correction


def weights(before, after):
    """w with mean + wᵀA the mean of the analysis; unique up to the vector of ones."""
    A = split(before[None])[1][0]
    return (after.mean(0) - before.mean(0)) @ torch.linalg.pinv(A)


# The three observed cells are fewer than the members in every case but the first.
@pytest.mark.parametrize("members", [3, 5])
@pytest.mark.parametrize("mode", ["corrected", "plain"])
@pytest.mark.parametrize("certainty", [1.0, 2.0])
def test_the_mean_minimises_the_cost_of_the_weights(members, mode, certainty):
    # Half |δ - Cᵀw|² + (N-1) c/2 log(ε + wᵀw) has a zero gradient there: the dual found the primal minimum.
    case = problem(members)
    seen = observed(*case)
    after = method("enkf_n", members=members, mode=mode, certainty=certainty)(case[0], seen, seeded())
    C, delta = whitened(seen)
    for number in range(2):
        epsilon, c = coefficients(C[number], mode, certainty)
        w = weights(case[0][number], after.ensemble[number])
        zeta = (members - 1) * c / (epsilon + w @ w)
        gradient = zeta * w - C[number] @ (delta[number] - C[number].T @ w)
        assert gradient.abs().max() < 1e-8


def test_it_is_the_etkf_with_the_inflation_it_finds():
    case = problem(5, batch=1)
    seen = observed(*case)
    after = method("enkf_n", members=5)(case[0], seen, seeded()).ensemble
    C, _ = whitened(seen)
    epsilon, c = coefficients(C[0], "corrected")
    w = weights(case[0][0], after[0])
    factor = float(((epsilon + w @ w) / c).sqrt())
    inflation = {"kind": "multiplicative", "factor": factor, "when": "prior"}
    etkf = method("etkf", members=5, inflation=inflation)(case[0], seen, seeded()).ensemble
    assert torch.allclose(after, etkf, atol=1e-8)


def test_the_hessian_is_that_of_the_cost():
    case = problem(5, batch=1)
    seen = observed(*case)
    after = method("enkf_n", members=5, covariance="hessian")(case[0], seen, seeded()).ensemble
    C, delta = (part[0] for part in whitened(seen))
    epsilon, c = coefficients(C, "corrected")
    w = weights(case[0][0], after[0])
    H = torch.autograd.functional.hessian(
        lambda w: (delta - C.T @ w).square().sum() / 2 + 4 * c / 2 * torch.log(epsilon + w @ w), w
    )
    A = split(case[0])[1][0]
    assert torch.allclose(covariance(after)[0], A.T @ torch.linalg.solve(H, A), atol=1e-7)


def test_missing_observations_beyond_the_members_change_nothing():
    # Six columns of which three are missing make the other of the two forms.
    ensemble, index, value, variance = case = problem(5)
    more = (torch.cat((index, index), 1), torch.cat((value, value * torch.nan), 1), variance.repeat(1, 2))
    few = method("enkf_n", members=5)(ensemble, observed(*case), seeded()).ensemble
    many = method("enkf_n", members=5)(ensemble, observed(ensemble, *more), seeded()).ensemble
    assert torch.allclose(few, many, atol=1e-9)


def test_a_surprise_inflates_and_a_confirmation_does_not():
    ensemble, index, _, variance = problem(12, batch=1)
    mean = ensemble.mean(1).gather(1, index)
    spread = [
        float(
            method("enkf_n", members=12)(
                ensemble, observed(ensemble, index, mean + shift, variance), seeded()
            ).ensemble.var(1).sum()
        )
        for shift in (0.0, 40.0)
    ]  # fmt: skip
    plain = method("etkf", members=12)(ensemble, observed(ensemble, index, mean, variance), seeded()).ensemble
    assert spread[1] > 1.5 * spread[0]
    assert spread[0] < 1.02 * float(plain.var(1).sum())
