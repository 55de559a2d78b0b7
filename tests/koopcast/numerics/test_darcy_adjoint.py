"""Darcy flow by finite volumes as a function of its coefficient."""

import numpy as np
import pytest

from koopcast.numerics.darcy_adjoint import DarcyFlow


def coefficient(seed: int, rows: int = 9, columns: int = 12) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(size=(rows, columns)))


def test_the_way_back_is_the_derivative_of_the_solution() -> None:
    flow, rng = DarcyFlow(2.0), np.random.default_rng(1)
    a, weight, direction = coefficient(0), rng.normal(size=(9, 12)), rng.normal(size=(9, 12))
    h = 1e-6
    ahead, behind = (flow.linearised(a + sign * h * direction).u for sign in (1, -1))
    change = float((weight * (ahead - behind)).sum()) / (2 * h)
    gradient = flow.linearised(a).pull_back(weight)
    assert float((gradient * direction).sum()) == pytest.approx(change, rel=1e-6)


def test_the_solution_scales_with_source_over_coefficient() -> None:
    a = coefficient(0)
    one, other = DarcyFlow(1.0).linearised(a).u, DarcyFlow(6.0).linearised(3 * a).u
    assert np.allclose(2 * one, other, rtol=1e-10)


def test_corners_which_no_face_touches_have_no_gradient() -> None:
    gradient = DarcyFlow().linearised(coefficient(0)).pull_back(np.ones((9, 12)))
    assert np.all(gradient[[0, 0, -1, -1], [0, -1, 0, -1]] == 0)
    assert np.all(gradient[1:-1, 1:-1] != 0)
