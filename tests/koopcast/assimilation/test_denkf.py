"""The deterministic filter: what half a gain makes of the covariance."""

import torch

from tests.koopcast.assimilation.test_analyses import (
    STATES,
    WIDE,
    covariance,
    kalman,
    method,
    observed,
    problem,
    seeded,
)


def test_the_mean_takes_the_gain_and_the_anomalies_half_of_it():
    case = problem(9)
    ensemble, index, _, variance = case
    H = torch.nn.functional.one_hot(index, STATES).double()
    P = covariance(ensemble)
    K = torch.linalg.solve(H @ P @ H.mT + torch.diag_embed(variance), H @ P).mT
    half = torch.eye(STATES).double() - K @ H / 2
    for options in ({}, {"localization": WIDE}):
        after = method("denkf", members=9, **options)(ensemble, observed(*case), seeded()).ensemble
        assert torch.allclose(after.mean(1), kalman(*case)[0], atol=1e-10)
        assert torch.allclose(covariance(after), half @ P @ half.mT, atol=1e-10)


def test_few_observations_and_many_are_solved_alike():
    # Members are fewer than observations in the first case; a repeated one with twice the error is none new.
    ensemble, index, value, variance = problem(4)
    after = method("denkf", members=4)(ensemble, observed(ensemble, index, value, variance), seeded())
    twice = [torch.cat((part, part), dim=1) for part in (index, value, 2 * variance)]
    again = method("denkf", members=4)(ensemble, observed(ensemble, *twice), seeded())
    assert torch.allclose(after.ensemble, again.ensemble, atol=1e-10)
