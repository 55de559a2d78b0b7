"""Inversion by nodes: its gradient, and what it finds."""

import numpy as np
import pytest

from koopcast.inversion.tikhonov import PixelProblem, TikhonovSpec
from koopcast.numerics.darcy_adjoint import DarcyFlow

SHAPE = (9, 9)


def problem_of(a: np.ndarray, std: float, seed: int = 0) -> PixelProblem:
    rng = np.random.default_rng(seed)
    inner = np.arange(81).reshape(SHAPE)[1:-1, 1:-1].ravel()
    nodes = np.sort(rng.permutation(inner)[:30])
    u = DarcyFlow().linearised(a).u.ravel()[nodes]
    return PixelProblem(DarcyFlow(), SHAPE, nodes, u + std * rng.normal(size=30), std)


def test_the_gradient_is_the_derivative_of_the_functional() -> None:
    rng = np.random.default_rng(1)
    problem = problem_of(np.exp(0.3 * rng.normal(size=SHAPE)), 1e-3)
    m, direction, h = 0.3 * rng.normal(size=81), rng.normal(size=81), 1e-6
    _, gradient = problem.value_and_gradient(m, 2.0)
    ahead, behind = (problem.value_and_gradient(m + sign * h * direction, 2.0)[0] for sign in (1, -1))
    assert float(gradient @ direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-5)


def test_a_constant_coefficient_is_found_from_few_noisy_values() -> None:
    a, u = problem_of(np.full(SHAPE, 4.0), 2e-4).solution(TikhonovSpec())
    assert np.allclose(a, 4.0, rtol=0.05)
    assert np.allclose(u, DarcyFlow().linearised(np.full(SHAPE, 4.0)).u, atol=2e-3)


def test_the_misfit_at_the_end_is_what_the_noise_explains() -> None:
    place = np.linspace(0, 1, 9)
    problem = problem_of(np.exp(place[:, None] + 0 * place), 2e-4)
    a, _ = problem.solution(TikhonovSpec())
    assert problem.misfit(np.log(a).ravel()) <= 30
    flat = np.full(81, np.log(np.mean(a)))
    assert problem.misfit(flat) > 30


def test_less_noise_means_a_smaller_error() -> None:
    place = np.linspace(0, 1, 9)
    truth = np.exp(place[:, None] - place)

    def error(std: float) -> float:
        a, _ = problem_of(truth, std).solution(TikhonovSpec())
        return float(np.linalg.norm(a - truth) / np.linalg.norm(truth))

    assert error(1e-5) < 0.5 * error(3e-3)
