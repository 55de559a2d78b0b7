from itertools import combinations
from math import factorial

import numpy as np
import pytest
from scipy.stats import chisquare

from koopcast.numerics.determinantal import Projection, unexplained
from koopcast.numerics.leverage import leverage, orthonormal

U = orthonormal(np.vander(np.linspace(-1, 1, 7), 3))
SETS = list(combinations(range(7), 3))
LAW = np.array([np.linalg.det(U[list(rows)]) ** 2 for rows in SETS])


def test_the_law_of_the_process_has_the_christoffel_density_as_its_marginal() -> None:
    # Over ordered triples the density with respect to uniform rows is det(φ_S)² / m!, φ = √N U.
    N, m = U.shape
    phi = np.sqrt(N) * U
    density = [np.linalg.det(phi[list(rows)]) ** 2 / factorial(m) for rows in SETS]
    assert factorial(m) * np.sum(density) / N**m == pytest.approx(1)
    marginal = np.zeros(N)
    for rows, probability in zip(SETS, LAW, strict=True):
        marginal[list(rows)] += probability / m
    assert np.allclose(marginal, leverage(U) / m)


def test_draws_follow_the_squared_volume_of_their_rows() -> None:
    drawn = np.sort(Projection(U).draw(20_000, np.random.default_rng(0)), axis=1)
    counts = np.array([(drawn == rows).all(axis=1).sum() for rows in SETS])
    assert counts.sum() == 20_000
    likely = LAW > 1e-12
    assert chisquare(counts[likely], 20_000 * LAW[likely]).pvalue > 1e-3


def test_the_first_row_and_the_last_have_the_same_law() -> None:
    drawn = Projection(U).draw(20_000, np.random.default_rng(1))
    for column in drawn.T:
        assert chisquare(np.bincount(column, minlength=7), 20_000 * leverage(U) / 3).pvalue > 1e-3


def test_the_chain_rule_multiplies_to_the_squared_volume() -> None:
    # Π ‖P uᵢ‖² / (m - k + 1) = det² / m!, with the projections that the draws use.
    rows = [0, 3, 5]
    E = np.zeros((1, 0, 3))
    product = 1.0
    for k, row in enumerate(rows):
        rest = unexplained(E, U[None, row, None])
        product *= float((rest**2).sum()) / (3 - k)
        E = np.concatenate((E, rest / np.linalg.norm(rest)), axis=1)
    assert product == pytest.approx(np.linalg.det(U[rows]) ** 2 / 6)


def test_many_features_give_rows_that_are_distinct_and_independent() -> None:
    wide = orthonormal(np.random.default_rng(2).standard_normal((400, 80)))
    for rows in Projection(wide).draw(5, np.random.default_rng(3)):
        assert len(set(rows.tolist())) == 80
        assert np.linalg.matrix_rank(wide[rows]) == 80


def test_as_many_features_as_rows_takes_them_all_and_rows_of_zeros_never() -> None:
    square = np.vstack((np.eye(4), np.zeros((3, 4))))
    drawn = Projection(square).draw(200, np.random.default_rng(4))
    assert (np.sort(drawn, axis=1) == np.arange(4)).all()
