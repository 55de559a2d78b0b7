"""The facts that make the chain function hard, one by one."""

import math

import pytest
import torch

from koopcast.numerics.hard_chain import (
    GAP,
    LIPSCHITZ,
    RotatedChain,
    gradient,
    noisy_gradient,
    progress,
    value,
)


def stream(seed=1):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, scale=1.5, seed=1):
    return scale * torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def descended(length, rate, until=0.25, limit=5000):
    """Return the steps of gradient descent until the last coordinate is found, and the least slope."""
    x, least = torch.zeros(length, dtype=torch.float64), math.inf
    for step in range(limit):
        if int(progress(x, until)) == length:
            return step, least
        assert int(progress(x, 0.0)) <= step
        slope = gradient(x)
        if int(progress(x)) < length:
            least = min(least, float(slope.norm()))
        x = x - rate * slope
    return limit, least


def test_the_value_of_two_coordinates_is_that_of_the_formula():
    def psi(x):
        return math.exp(1 - 1 / (2 * x - 1) ** 2) if x > 0.5 else 0.0

    def phi(x):
        return math.sqrt(2 * math.pi * math.e) * 0.5 * (1 + math.erf(x / math.sqrt(2)))

    for a, b in ((0.3, -0.7), (0.9, 0.4), (-1.2, 0.8)):
        expected = -psi(1) * phi(a) + psi(-a) * phi(-b) - psi(a) * phi(b)
        assert float(value(torch.tensor([a, b], dtype=torch.float64))) == pytest.approx(expected, rel=1e-12)


def test_the_gradient_is_the_derivative_of_the_value():
    x = drawn(50, 12).requires_grad_()
    (slope,) = torch.autograd.grad(value(x).sum(), x)
    assert torch.allclose(gradient(x.detach()), slope, atol=1e-12)
    # Just above 1/2, where Ψ underflows, nothing is lost or undefined.
    edge = torch.tensor(
        [[0.5, 0.5 + 1e-12, 0.5001, 0.52, -0.5, 1.0]], dtype=torch.float64, requires_grad=True
    )
    (slope,) = torch.autograd.grad(value(edge).sum(), edge)
    assert torch.isfinite(slope).all()
    assert torch.allclose(gradient(edge.detach()), slope, atol=1e-12)


def test_the_start_is_within_12_of_the_infimum_a_coordinate():
    for length in (2, 10, 40):
        below = value(torch.full((length,), 50.0, dtype=torch.float64))
        start = value(torch.zeros(length, dtype=torch.float64))
        gap = float(start - below)
        assert 0 < gap <= GAP * length
        # Every term is at least -Ψ(∞) Φ(∞) = -e √(2πe): none of it can be missed by much.
        assert gap > 0.9 * math.e * math.sqrt(2 * math.pi * math.e) * (length - 1)


def test_the_gradient_is_152_lipschitz_and_its_entries_stay_below_23():
    x, y = drawn(4000, 8, scale=1.0), drawn(4000, 8, scale=1.0, seed=2)
    y = x + 0.05 * (y - x)
    ratio = (gradient(x) - gradient(y)).norm(dim=1) / (x - y).norm(dim=1)
    assert 20 < float(ratio.max()) <= LIPSCHITZ
    assert 10 < float(gradient(drawn(4000, 8)).abs().max()) <= 23


def test_a_gradient_reaches_one_coordinate_beyond_the_support():
    for support in range(10):
        x = torch.zeros(100, 10, dtype=torch.float64)
        x[:, :support] = drawn(100, support, seed=support)
        assert int(progress(gradient(x), 0.0).max()) <= support + 1


def test_no_point_is_nearly_stationary_before_the_last_coordinate_is_above_1():
    x = drawn(20_000, 6, scale=1.2)
    is_early = progress(x) < 6
    assert 1000 < int(is_early.sum()) < 20_000
    assert float(gradient(x[is_early]).norm(dim=1).min()) > 1


def test_progress_is_the_last_coordinate_above_the_threshold():
    x = torch.tensor([[0.3, -2.0, 0.3], [0.0, 0.0, 0.0], [1.0, 0.9, -1.1]], dtype=torch.float64)
    assert progress(x).tolist() == [2, 0, 3]
    assert progress(x, 0.25).tolist() == [3, 0, 3]


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        (10, 137),
        (20, 270),
        pytest.param(40, 534, marks=pytest.mark.slow),
        pytest.param(80, 1064, marks=pytest.mark.slow),
    ],
)
def test_gradient_descent_takes_13_steps_a_coordinate(length, steps):
    found, least = descended(length, 0.02)
    assert found == steps
    assert least > 1.3


@pytest.mark.slow
def test_a_longer_step_takes_173_steps_for_30_coordinates():
    assert descended(30, 0.05)[0] == 173


def test_the_noisy_gradient_is_unbiased_and_shows_news_once_in_1_over_p_calls():
    x = torch.zeros(20_000, 5, dtype=torch.float64)
    x[:, :2] = 0.8
    noisy, exact = noisy_gradient(x, 0.2, stream()), gradient(x)
    assert torch.equal(noisy[:, :2], exact[:, :2])
    shown = noisy[:, 2] != 0
    assert float(shown.double().mean()) == pytest.approx(0.2, abs=4 * (0.16 / 20_000) ** 0.5)
    # One entry is s/p with probability p: standard error |s| √((1 - p)/(p n)).
    error = float(exact[0, 2].abs()) * (0.8 / 0.2 / 20_000) ** 0.5
    assert float(noisy[:, 2].mean()) == pytest.approx(float(exact[0, 2]), abs=4 * error)
    assert torch.equal(noisy_gradient(x, 1.0, stream()), exact)


@pytest.mark.slow
def test_stochastic_descent_waits_a_calls_share_for_every_coordinate():
    x, generator, calls = torch.zeros(30, dtype=torch.float64), stream(), 0
    while int(progress(x, 0.25)) < 30:
        x = x - 0.02 * noisy_gradient(x, 0.05, generator)
        calls += 1
    assert calls >= 0.8 * 30 / 0.05


def test_the_rotated_chain_has_the_derivative_of_its_value_and_hides_its_coordinates():
    chain = RotatedChain.drawn(24, 6, stream())
    assert torch.allclose(chain.U.mT @ chain.U, torch.eye(6).double(), atol=1e-14)
    x = drawn(20, 24, scale=40.0).requires_grad_()
    (slope,) = torch.autograd.grad(chain.value(x).sum(), x)
    assert torch.allclose(chain.gradient(x.detach()), slope, atol=1e-10)
    first = chain.gradient(torch.zeros(24, dtype=torch.float64))
    assert int((first.abs() > 1e-3).sum()) > 20
    assert int(progress(chain.chain(-first), 1e-12)) == 1


def test_a_rotation_that_turns_nothing_leaves_the_chain_up_to_the_bowl():
    chain = RotatedChain(torch.eye(4, dtype=torch.float64))
    x = drawn(5, 4, scale=0.5)
    assert torch.allclose(chain.value(x), value(x) + x.square().sum(1) / 10, atol=1e-3)
