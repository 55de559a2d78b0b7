import numpy as np
import pytest
from scipy.stats import chisquare

from koopcast.errors import ComputeError, DataError, InvalidInput
from koopcast.samplers.christoffel import ChristoffelSpec

PHI = np.vander(np.linspace(-1, 1, 30), 4)
TAU = np.diag(PHI @ np.linalg.inv(PHI.T @ PHI) @ PHI.T)


def test_rows_are_drawn_with_probability_leverage_over_features_and_weighted_by_the_inverse() -> None:
    rows = ChristoffelSpec().rows(PHI, 20_000, np.random.default_rng(0))
    assert chisquare(np.bincount(rows.index, minlength=30), 20_000 * TAU / 4).pvalue > 1e-3
    assert np.allclose(rows.weight, 4 / (30 * TAU[rows.index]))


def test_the_figure_is_the_least_eigenvalue_of_the_weighted_gram_matrix() -> None:
    rows = ChristoffelSpec().rows(PHI, 12, np.random.default_rng(1))
    phi = np.sqrt(30) * np.linalg.qr(PHI).Q[rows.index]
    G = phi.T @ np.diag(rows.weight) @ phi / 12
    assert rows.figures["gram_min_eig"] == pytest.approx(np.linalg.eigvalsh(G)[0])


def test_a_conditioned_draw_meets_its_condition_and_says_when_it_cannot() -> None:
    generator = np.random.default_rng(2)
    plain = [ChristoffelSpec().rows(PHI, 12, generator).figures["gram_min_eig"] for _ in range(50)]
    assert min(plain) < 0.4
    draw = ChristoffelSpec(conditioning=0.6).drawing(PHI)
    assert min(draw(12, generator).figures["gram_min_eig"] for _ in range(50)) >= 0.4
    with pytest.raises(ComputeError, match="none of 20 draws of 4 rows"):
        ChristoffelSpec(conditioning=0.01, max_tries=20).rows(PHI, 4, generator)


def test_boosting_drops_rows_while_the_condition_holds() -> None:
    rows = ChristoffelSpec(conditioning=0.5, boosted=True).rows(PHI, 60, np.random.default_rng(3))
    assert 4 <= len(rows.index) < 30
    phi = np.sqrt(30) * np.linalg.qr(PHI).Q[rows.index]
    G = phi.T @ np.diag(rows.weight) @ phi / len(rows.index)
    assert np.linalg.eigvalsh(G)[0] >= 0.5
    assert rows.figures["gram_min_eig"] == pytest.approx(np.linalg.eigvalsh(G)[0])


def test_boosting_needs_a_condition_and_lays_no_points() -> None:
    with pytest.raises(ValueError, match="boosted: true"):
        ChristoffelSpec(boosted=True)
    with pytest.raises(InvalidInput, match="all 20 points are wanted"):
        ChristoffelSpec(boosted=True, conditioning=0.5).points(20, 1, np.random.default_rng(0))


def test_points_crowd_at_the_ends_with_weights_that_integrate_polynomials() -> None:
    laid = ChristoffelSpec(degree=10).points(4000, 1, np.random.default_rng(4))
    x = laid.points[:, 0]
    # The density of ν tends to 1 / (π √(u (1 - u))): 0.2 of it lies below 0.095, of uniform points 0.095.
    assert (x < 0.095).mean() == pytest.approx(0.2, abs=0.03)
    for power in (0, 1, 4):
        terms = laid.weight * x**power
        assert abs(terms.mean() - 1 / (power + 1)) < 4 * terms.std() / np.sqrt(4000) + 1e-4


def test_points_of_a_normal_basis_reach_far_out() -> None:
    laid = ChristoffelSpec(degree=8, basis="hermite").points(2000, 1, np.random.default_rng(5))
    # Of 2000 points of the normal law itself five or six would lie beyond Φ(±3).
    assert (np.abs(laid.points[:, 0] - 0.5) > 0.49865).sum() > 100


def test_impossible_requests_are_refused_with_what_is_possible() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(InvalidInput, match="cannot fit 4 features to 3 rows; take 4 rows or more"):
        ChristoffelSpec().rows(PHI, 3, generator)
    with pytest.raises(DataError, match="rank 4"):
        ChristoffelSpec().rows(np.hstack((PHI, PHI[:, :1])), 10, generator)
    with pytest.raises(InvalidInput, match="20 rows or more"):
        ChristoffelSpec(degree=3).points(10, 3, generator)
    with pytest.raises(InvalidInput, match="56 features in 3 dimensions, but 50 candidates"):
        ChristoffelSpec(degree=5, candidates=50).points(100, 3, generator)
