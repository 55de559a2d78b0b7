"""Weights and the schemes that draw particles again: hand values, bounds on copies, expected copies."""

import math

import pytest
import torch

from koopcast.numerics.particles import (
    ancestors,
    covariance_root,
    effective_number,
    is_repeated,
    normalised,
    weighted_split,
)

SCHEMES = ("systematic", "stratified", "residual", "multinomial")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def weights(batch, count, seed=1):
    raw = torch.rand(batch, count, generator=seeded(seed), dtype=torch.float64) ** 3
    return raw / raw.sum(1, keepdim=True)


def drawn(weight, scheme, seed=2):
    uniform = torch.rand(weight.shape, generator=seeded(seed), dtype=torch.float64)
    return ancestors(weight, scheme, uniform)


def copies(index):
    return torch.nn.functional.one_hot(index, index.shape[1]).sum(1)


def test_weights_far_below_the_smallest_number_are_normalised():
    weight, total = normalised(torch.tensor([[-2000.0, -2000.0 + math.log(3)]], dtype=torch.float64))
    assert torch.allclose(weight, torch.tensor([[0.25, 0.75]]).double())
    assert float(total) == pytest.approx(-2000 + math.log(4), abs=1e-12)
    # 1 / (1/16 + 9/16)
    assert float(effective_number(weight)) == pytest.approx(1.6)


def test_a_comb_through_given_weights():
    # Cumulative weights .1, .6, 1; teeth at (i + 1/2) / 3 = .167, .5, .833.
    weight = torch.tensor([[0.1, 0.5, 0.4]]).double()
    assert ancestors(weight, "systematic", torch.full((1, 3), 0.5).double()).tolist() == [[1, 1, 2]]
    # Independent draws at .05, .3, .95 in any order, returned sorted.
    assert ancestors(weight, "multinomial", torch.tensor([[0.95, 0.05, 0.3]]).double()).tolist() == [
        [0, 1, 2]
    ]
    # Residual: ⌊.3⌋, ⌊1.5⌋, ⌊1.2⌋ = 0, 1, 1 copies; one draw from (.3, .5, .2) at .9 takes the last.
    assert ancestors(weight, "residual", torch.tensor([[0.0, 0.0, 0.9]]).double()).tolist() == [[1, 2, 2]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_particle_is_expected_as_often_as_it_weighs(scheme):
    trials, count = 20_000, 7
    weight = weights(1, count).expand(trials, -1)
    found = copies(drawn(weight, scheme)).double()
    # No scheme has a larger variance than independent draws: N w (1 - w).
    error = (count * weight[0] * (1 - weight[0]) / trials).sqrt()
    assert ((found.mean(0) - count * weight[0]).abs() <= 6 * error).all()


@pytest.mark.parametrize(("scheme", "above"), [("systematic", 1), ("stratified", 2), ("residual", math.inf)])
def test_schemes_keep_copies_near_their_expectation(scheme, above):
    weight = weights(500, 40)
    expected, found = 40 * weight, copies(drawn(weight, scheme)).double()
    assert (found >= expected.floor() - (1 if scheme == "stratified" else 0)).all()
    assert (found < expected + above).all()


@pytest.mark.parametrize("scheme", SCHEMES[:3])
def test_equal_weights_keep_every_particle(scheme):
    for count in (3, 10, 49):
        weight = torch.full((4, count), 1 / count, dtype=torch.float64)
        assert torch.equal(drawn(weight, scheme), torch.arange(count).expand(4, -1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_particle_without_weight_is_never_drawn(scheme):
    weight = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).double().expand(1000, -1)
    assert set(drawn(weight, scheme).flatten().tolist()) == {1, 3}


def test_repeated_numbers_are_those_after_the_first():
    assert is_repeated(torch.tensor([[0, 0, 2, 2, 2, 4]])).tolist() == [
        [False, True, False, True, True, False]
    ]


def test_moments_of_weighted_particles():
    ensemble = torch.randn(2, 9, 3, generator=seeded(5), dtype=torch.float64)
    mean, anomalies = weighted_split(ensemble, torch.full((2, 9), 1 / 9).double())
    assert torch.allclose(mean[:, 0], ensemble.mean(1))
    expected = torch.stack([torch.cov(part.T) for part in ensemble])
    assert torch.allclose(anomalies.mT @ anomalies, expected)
    root = covariance_root(anomalies)
    assert root.shape == (2, 3, 3)
    assert torch.allclose(root.mT @ root, expected)
    # Weights 1/4 and 3/4 at 0 and 1: mean 3/4, Σ w a² = 3/16, 1 - Σ w² = 3/8.
    mean, anomalies = weighted_split(
        torch.tensor([[[0.0], [1.0]]]).double(), torch.tensor([[0.25, 0.75]]).double()
    )
    assert float(mean) == 0.75
    assert float(anomalies.square().sum()) == pytest.approx(0.5)
    # Weights 1 - ε and ε: ε (1 - ε) d² / (2 ε (1 - ε)) is d² / 2, however small ε.
    pair = torch.tensor([[[20.0], [23.0]]], dtype=torch.float64)
    for small in (1e-3, 1e-12, 1e-30, 1e-200):
        weight = torch.tensor([[1 - small, small]], dtype=torch.float64)
        assert float(weighted_split(pair, weight)[1].square().sum()) == pytest.approx(4.5, rel=1e-9)
    lonely = weighted_split(torch.tensor([[[3.0], [1.0]]]).double(), torch.tensor([[1.0, 0.0]]).double())[1]
    assert (lonely == 0).all()
