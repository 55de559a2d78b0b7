"""Spectral densities with known answers: the shift, rotations, and filters."""

import math
from itertools import pairwise

import pytest
import torch

from koopcast.numerics.spectral_measures import (
    atom_weight,
    moment_density,
    moments,
    poles_and_weights,
    rational_density,
    smoothing,
)

ANGLES = torch.linspace(-3, 3, 41, dtype=torch.float64)
FILTERS = ("fejer", "cosine", "vand", "sharp_cosine", "infinite")


def _shift_error(order: int, epsilon: float) -> float:
    """Return the error for e_0 + 0.6 e_1 under the shift, whose density is (1.36 + 1.2 cos θ) / 2π."""
    n = 150
    K = torch.zeros(2 * n + 1, 2 * n + 1, dtype=torch.float64)
    K[torch.arange(1, 2 * n + 1), torch.arange(2 * n)] = 1
    f = torch.zeros(2 * n + 1, dtype=torch.float64)
    f[n], f[n + 1] = 1, 0.6
    exact = (1.36 + 1.2 * ANGLES.cos()) / (2 * math.pi)
    return float((rational_density(K, f, ANGLES, order=order, epsilon=epsilon) - exact).abs().max())


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_error_on_the_shift_falls_at_the_order_of_the_kernel(order: int) -> None:
    slope = math.log2(_shift_error(order, 0.2) / _shift_error(order, 0.1))
    # On the way to the asymptotic slope m, reached from below as ε log 1/ε.
    assert 0.8 * order < slope <= order


def test_orders_up_to_ten_keep_falling() -> None:
    errors = [_shift_error(order, 0.2) for order in (1, 3, 5, 8, 10)]
    assert all(later < 0.5 * earlier for earlier, later in pairwise(errors))


@pytest.mark.parametrize("order", [1, 2, 5, 10])
def test_the_weights_satisfy_their_moment_conditions(order: int) -> None:
    stretch, c, d = poles_and_weights(order, 0.1)
    delta = (stretch - 1) / 0.1
    sigma = -delta.conj() / (1 + 0.1 * delta.conj())
    for k in range(order):
        target = 1.0 if k == 0 else 0.0
        assert abs(complex((c * sigma**k).sum()) - target) < 1e-6
        assert abs(complex((d * delta**k).sum()) - target) < 1e-6


def test_an_eigenvalue_shows_as_the_kernel_about_its_angle() -> None:
    alpha = 0.8
    K = torch.polar(torch.ones(1, 1, dtype=torch.float64), torch.full((1, 1), alpha, dtype=torch.float64))
    f = torch.ones(1, dtype=torch.complex128)
    angles = torch.linspace(-math.pi, math.pi, 2001, dtype=torch.float64)
    for order in (1, 2, 4):
        density = rational_density(K, f, angles, order=order, epsilon=0.1)
        assert abs(float(angles[density.argmax()]) - alpha) < 5e-3
        assert abs(float(torch.trapezoid(density, angles)) - 1) < 1e-6
    # Order 1 is the Poisson kernel of radius 1/(1 + ε).
    r = 1 / 1.1
    poisson = (1 - r**2) / (1 + r**2 - 2 * r * (angles - alpha).cos()) / (2 * math.pi)
    assert torch.allclose(rational_density(K, f, angles, order=1, epsilon=0.1), poisson, rtol=1e-9)


def test_moments_are_means_over_pairs_within_samples() -> None:
    f = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 1.0]], dtype=torch.float64)
    # Lag 1: (1·2 + 2·4 + 3·0 + 0·1) / 4; lag 2: (1·4 + 3·1) / 2.
    expected = torch.tensor([31 / 6, 10 / 4, 7 / 2], dtype=torch.float64) / (2 * math.pi)
    assert torch.allclose(moments(f, 2).real, expected)


@pytest.mark.parametrize("kind", FILTERS)
def test_moments_place_an_oscillation_at_its_angle_with_mass_one(kind: str) -> None:
    alpha = 0.8
    time = torch.arange(4000, dtype=torch.float64)
    f = torch.polar(torch.ones_like(time), alpha * time)[None]
    angles = torch.linspace(-math.pi, math.pi, 4001, dtype=torch.float64)
    density = moment_density(moments(f, 200), angles, kind)
    assert abs(float(angles[density.argmax()]) - alpha) < 5e-3
    assert abs(float(torch.trapezoid(density, angles)) - 1) < 1e-9


def test_the_weight_of_an_atom_is_read_from_the_fejer_sum() -> None:
    time = torch.arange(20_000, dtype=torch.float64)
    f = (3.0 + 2 * (math.sqrt(2) * time).cos())[None]
    mu = moments(f, 400)
    angles = torch.tensor([0.0, math.sqrt(2), 0.7], dtype=torch.float64)
    # 3² at 0; 2 cos(αt) = e^{iαt} + e^{-iαt} has mass 1 at ±α.
    assert torch.allclose(atom_weight(mu, angles), torch.tensor([9.0, 1.0, 0.0]).double(), atol=0.03)


@pytest.mark.parametrize("kind", FILTERS)
def test_filters_are_one_at_zero_and_vanish_at_the_end(kind: str) -> None:
    x = torch.tensor([0.0, 0.3, 0.5, 1.0], dtype=torch.float64)
    values = smoothing(kind, x)
    assert abs(float(values[0]) - 1) < 1e-12
    assert abs(float(values[-1])) < 1e-12
    assert bool((values.diff() < 1e-12).all())


@pytest.mark.parametrize(("kind", "order"), [("fejer", 1), ("cosine", 2), ("vand", 4), ("sharp_cosine", 8)])
def test_filters_are_flat_at_zero_to_their_order(kind: str, order: int) -> None:
    one, half = (1 - float(smoothing(kind, torch.tensor([x], dtype=torch.float64))) for x in (0.08, 0.04))
    assert abs(math.log2(one / half) - order) < 0.15
