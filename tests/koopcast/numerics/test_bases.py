import numpy as np
import pytest
from scipy.stats import norm

from koopcast.numerics.bases import (
    Basis,
    degrees,
    evaluate,
    even_net,
    exponents,
    num_functions,
    resolving_design,
)


@pytest.mark.parametrize("basis", ["legendre", "hermite", "fourier"])
@pytest.mark.parametrize(("dimension", "degree"), [(1, 10), (2, 4), (3, 2)])
def test_functions_are_orthonormal_over_the_design_that_resolves_them(
    basis: Basis, dimension: int, degree: int
) -> None:
    m = num_functions(basis, degree, dimension)
    design = resolving_design(basis, 2**14, dimension, degree)
    phi = evaluate(basis, design.points, m)
    gram = (phi * design.density[:, None]).T @ phi / len(phi)
    # The net integrates to about 1 / 2^14 times powers of its logarithm.
    assert np.abs(gram - np.eye(m)).max() < 0.01
    assert design.density.mean() == pytest.approx(1, abs=1e-3)
    assert ((design.points > 0) & (design.points < 1)).all()


@pytest.mark.parametrize("basis", ["legendre", "hermite", "fourier"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_first_functions_are_those_of_low_degree_each_once(basis: Basis, dimension: int) -> None:
    m = num_functions(basis, 4, dimension)
    chosen, degree = exponents(basis, m, dimension), degrees(basis, m, dimension)
    assert len(np.unique(chosen, axis=0)) == m
    assert (np.diff(degree) >= 0).all()
    assert degree[-1] == 4
    assert degrees(basis, m + 1, dimension)[-1] == 5


def test_single_functions_have_their_textbook_values() -> None:
    u = np.array([[0.1], [0.7]])
    x, z = 2 * u[:, 0] - 1, norm.ppf(u[:, 0])
    assert np.allclose(evaluate("legendre", u, 3)[:, 2], np.sqrt(5) * (3 * x**2 - 1) / 2)
    assert np.allclose(evaluate("hermite", u, 4)[:, 3], (z**3 - 3 * z) / np.sqrt(6))
    assert np.allclose(evaluate("fourier", u, 5)[:, 3], np.sqrt(2) * np.cos(4 * np.pi * u[:, 0]))
    assert np.allclose(evaluate("fourier", u, 5)[:, 4], np.sqrt(2) * np.sin(4 * np.pi * u[:, 0]))


def test_the_net_on_a_line_is_a_regular_grid_of_midpoints() -> None:
    assert np.allclose(np.sort(even_net(64, 1)[:, 0]), (np.arange(64) + 0.5) / 64)
