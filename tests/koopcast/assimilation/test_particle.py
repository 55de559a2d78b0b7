"""The particle filter: weights by hand, the Kalman answer and its evidence, records of weighted members."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.assimilation import AnyAnalysis, records
from koopcast.assimilation.base import Observed, Setting
from koopcast.assimilation.cycle import CycleState, run
from koopcast.assimilation.records import joined
from koopcast.numerics.particles import ancestors
from tests.koopcast.assimilation.test_cycle import TRUTH, cycle, experiment, seeded, start

PARTICLE = {"kind": "particle", "members": 30, "threshold": 0.5}
FEW = {"kind": "synthetic", "every": 2, "locations": {"kind": "every", "step": 4}, "error": {"variance": 4.0}}


def filtering(**options):
    return TypeAdapter(AnyAnalysis).validate_python({"kind": "particle", **options}).build(Setting())


def seen(ensemble, value, variance):
    return Observed.of(value, variance, ensemble[..., : value.shape[1]])


def test_weights_are_likelihoods_and_multiply_until_particles_are_drawn():
    # y = 1, R = 2: particles at 0, 1, 3 have -½ d²/R = -1/4, 0, -1.
    ensemble = torch.tensor([[[0.0], [1.0], [3.0]]]).double()
    analyse = filtering(members=3, threshold=0)
    once = torch.tensor([math.exp(-0.25), 1, math.exp(-1)]).double()
    observed = seen(ensemble, torch.ones(1, 1).double(), torch.full((1, 1), 2.0).double())
    first = analyse(ensemble, observed, seeded())
    second = analyse(ensemble, observed, seeded())
    assert torch.allclose(first.weights[0], once / once.sum())
    assert torch.allclose(first.background_weights[0], torch.full((3,), 1 / 3).double())
    assert torch.allclose(second.background_weights[0], once / once.sum())
    assert torch.allclose(second.weights[0], once**2 / (once**2).sum())
    density = math.log(1 / math.sqrt(4 * math.pi))
    assert float(first.figures["log_evidence"]) == pytest.approx(float(once.mean().log()) + density)
    both = first.figures["log_evidence"] + second.figures["log_evidence"]
    assert float(both) == pytest.approx(float((once**2).mean().log()) + 2 * density)
    assert torch.equal(second.carried, ensemble)


def test_many_particles_give_the_kalman_mean_covariance_and_evidence():
    members, batch = 100_000, 2
    mix = torch.tensor([[1.0, 0.5], [0.0, 0.8]]).double()
    ensemble = torch.randn(batch, members, 2, generator=seeded(1), dtype=torch.float64) @ mix
    value, variance = torch.tensor([[0.7], [-1.1]]).double(), torch.full((2, 1), 0.5).double()
    analysis = filtering(members=members, threshold=0)(ensemble, seen(ensemble, value, variance), seeded())
    P = mix.T @ mix
    S = P[0, 0] + 0.5
    mean = value * P[0] / S
    cov = P - torch.outer(P[0], P[0]) / S
    found = (analysis.weights[:, None] @ analysis.ensemble)[:, 0]
    # The standard error of a weighted mean is that of n_eff draws.
    error = (cov.diagonal() / analysis.figures["n_eff"][:, None]).sqrt()
    assert ((found - mean).abs() <= 6 * error).all()
    evidence = -0.5 * (value[:, 0] ** 2 / S + math.log(2 * math.pi * S))
    assert torch.allclose(analysis.figures["log_evidence"], evidence, atol=0.02)


def test_particles_are_drawn_again_where_few_count_alone():
    spread = torch.linspace(-3, 3, 50).double()[None, :, None]
    ensemble = torch.cat((spread, spread * 0.01))
    value, variance = torch.zeros(2, 1).double(), torch.full((2, 1), 0.01).double()
    analyse = filtering(members=50, threshold=0.5, jitter=0.0)
    analysis = analyse(ensemble, seen(ensemble, value, variance), seeded())
    assert torch.equal(analysis.carried[1], ensemble[1])
    assert float(analysis.carried[0].abs().max()) < 0.5
    weights = analyse.memory["log_weight"].exp()
    assert torch.allclose(weights[0], torch.full((50,), 0.02).double())
    assert torch.allclose(weights[1], analysis.weights[1])
    assert float(analysis.figures["unique"][1]) == 50
    assert float(analysis.figures["unique"][0]) < 10


@pytest.mark.parametrize("is_unique", [True, False])
def test_jitter_has_the_stated_covariance(is_unique):
    members, width = 40_000, 2.0
    ensemble = torch.randn(1, members, 2, generator=seeded(1), dtype=torch.float64) * torch.tensor([1.0, 3.0])
    value, variance = torch.ones(1, 1).double(), torch.full((1, 1), 0.2).double()
    options = {"members": members, "threshold": 1.0, "jitter_unique": is_unique}
    observed = seen(ensemble, value, variance)
    plain = filtering(**options, jitter=0.0)(ensemble, observed, seeded(3)).carried
    noisy = filtering(**options, jitter=width)(ensemble, observed, seeded(3)).carried
    noise = (noisy - plain)[0]
    is_copy = torch.cat((torch.tensor([False]), (plain[0, 1:] == plain[0, :-1]).all(1)))
    assert is_unique or (noise[~is_copy] == 0).all()
    noise = noise if is_unique else noise[is_copy]
    weighted = filtering(members=members, threshold=0)(ensemble, observed, seeded())
    mean = weighted.weights @ ensemble[0]
    C = (ensemble[0] - mean).T @ (weighted.weights[0, :, None] * (ensemble[0] - mean))
    expected = width**2 * members ** (-2 / 6) * C
    error = ((expected.diagonal()[:, None] * expected.diagonal() + expected**2) / len(noise)).sqrt()
    assert ((torch.cov(noise.T) - expected).abs() <= 6 * error + 0.01 * expected.abs()).all()


def test_records_hold_the_moments_of_the_weighted_population():
    trial = experiment({**PARTICLE, "threshold": 0.0}, FEW)
    cycles, means = cycle(trial, 30), cycle(trial, 30, keep="mean")
    # Never drawn again: the background of each time is the free run, and weights multiply.
    free = start(trial.dynamics, TRUTH, 30)
    log_weight = torch.zeros(2, 30).double()
    for number in range(3):
        before = torch.softmax(log_weight, 1)
        for _ in range(2):
            free = trial.dynamics.step(free.flatten(0, 1)).unflatten(0, free.shape[:2])
        departure = trial.observations.value[:, None, number] - free[..., ::4]
        log_weight = log_weight - departure.square().sum(2) / 8
        weights = torch.softmax(log_weight, 1)
        for population, kept, spread in (
            (before, means.background, means.background_spread),
            (weights, means.analysis, means.analysis_spread),
        ):
            mean = torch.einsum("bm,bms->bs", population, free)
            square = torch.einsum("bm,bms->bs", population, (free - mean[:, None]) ** 2)
            unbiased = square / (1 - population.square().sum(1, keepdim=True))
            assert torch.allclose(kept[:, 0, number, :, 0].double(), mean, atol=1e-5)
            assert torch.allclose(spread[:, number, :, 0].double(), unbiased.sqrt(), atol=1e-5)
        comb = ancestors(weights, "systematic", torch.full_like(weights, 0.5))
        members = torch.stack([part[index] for part, index in zip(free, comb, strict=True)])
        assert torch.allclose(cycles.analysis[:, :, number, :, 0].double(), members, atol=1e-5)
        effective = 1 / weights.square().sum(1)
        assert torch.allclose(cycles.figures["n_eff"][:, number], effective)


def test_a_time_without_observations_keeps_the_weights():
    trial = experiment(PARTICLE, FEW)
    value = trial.observations.value.clone()
    value[:, 5] = torch.nan
    trial = replace(trial, observations=replace(trial.observations, value=value))
    cycles = cycle(trial, 30, keep="mean")
    assert torch.equal(cycles.analysis[:, :, 5], cycles.background[:, :, 5])
    assert torch.equal(cycles.analysis_spread[:, 5], cycles.background_spread[:, 5])


@pytest.mark.parametrize("scheme", ["systematic", "stratified", "residual", "multinomial"])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(scheme, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    trial = experiment({**PARTICLE, "resampling": scheme}, FEW)
    whole = cycle(trial, 30)
    blocks = run(trial, CycleState(start(trial.dynamics, TRUTH, 30), seeded(4)))
    first = next(blocks)
    saved = {name: tensor.clone() for name, tensor in first.state.tensors().items()}
    assert saved["memory.log_weight"].shape == (2, 30)
    rest = joined(run(trial, CycleState.restored(saved)))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)
    figures = torch.cat([first.figures["log_evidence"], rest.figures["log_evidence"]], dim=1)
    assert torch.equal(figures, whole.figures["log_evidence"])


def test_a_scheme_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="'systematic', 'stratified', 'residual' or 'multinomial'"):
        filtering(resampling="branching")
