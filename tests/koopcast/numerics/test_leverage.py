import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from koopcast.errors import DataError, NotFinite
from koopcast.numerics import leverage as module
from koopcast.numerics.leverage import (
    extended,
    leverage,
    lewis_weights,
    orthonormal,
    pivoted_rows,
    sensitivities,
    sensitivity_bracket,
)

A = np.random.default_rng(0).standard_t(3, size=(40, 3))
U = orthonormal(A)


def brute_force(i: int, p: float) -> float:
    """Return max |aᵢ x|ᵖ / ‖A x‖ₚᵖ by solving min ‖A x‖ₚᵖ subject to aᵢ x = 1, a convex problem."""
    n, d = A.shape
    if p == 1:
        one = np.eye(n)
        result = linprog(
            np.r_[np.zeros(d), np.ones(n)],
            A_ub=np.block([[A, -one], [-A, -one]]),
            b_ub=np.zeros(2 * n),
            A_eq=np.r_[A[i], np.zeros(n)][None],
            b_eq=[1.0],
            bounds=[(None, None)] * (d + n),
        )
        return float(1 / result.fun)
    # On x = x0 + N y, N the directions that leave aᵢ x alone, the constraint is met.
    x0 = A[i] / (A[i] @ A[i])
    N = np.linalg.svd(A[i][None])[2][1:].T
    result = minimize(lambda y: np.sum(np.abs(A @ (x0 + N @ y)) ** p), np.zeros(d - 1), tol=1e-12)
    return float(1 / result.fun)


@pytest.mark.parametrize("p", [1.0, 1.3, 2.0, 3.0, 5.0])
def test_sensitivities_bracket_the_solution_of_the_convex_problem(p: float) -> None:
    low, high = sensitivities(U, p, tolerance=0.01)
    exact = np.array([brute_force(i, p) for i in range(12)])
    assert (low[:12] <= exact * (1 + 1e-6)).all()
    assert (high[:12] >= exact * (1 - 1e-6)).all()
    assert (high <= 1.05 * low).all()


@pytest.mark.parametrize("p", [1.0, 1.5, 3.0, 4.0])
def test_the_cheap_bracket_holds_the_sensitivities(p: float) -> None:
    low, high = sensitivities(U, p, tolerance=0.01)
    least, most = sensitivity_bracket(U, p)
    assert (least <= high + 1e-12).all()
    assert (most >= low - 1e-12).all()
    assert least.sum() > 0.8 * low.sum()


def test_sensitivities_do_not_depend_on_how_rows_are_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sensitivities(U, 3.0)
    monkeypatch.setattr(module, "BLOCK", 40 * 7)
    for one, other in zip(sensitivities(U, 3.0), whole, strict=True):
        assert np.allclose(one, other)


def test_beyond_a_number_of_rows_the_cheap_bracket_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT_ROWS", 39)
    assert np.array_equal(sensitivities(U, 3.0)[1], sensitivity_bracket(U, 3.0)[1])


def test_sensitivities_of_order_two_are_leverage() -> None:
    H = A @ np.linalg.inv(A.T @ A) @ A.T
    assert np.allclose(leverage(U), np.diag(H))
    assert np.allclose(sensitivities(U, 2.0)[1], np.diag(H))
    # The general iteration, just off p = 2, agrees with the closed form.
    assert np.allclose(sensitivities(U, 2.0 + 1e-9)[1], np.diag(H), rtol=1e-6)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
def test_lewis_weights_are_their_own_leverage_and_sum_to_the_columns(p: float) -> None:
    w = lewis_weights(U, p)
    reweighted = w[:, None] ** (0.5 - 1 / p) * A
    assert np.allclose(leverage(orthonormal(reweighted)), w, rtol=1e-6, atol=1e-9)
    assert w.sum() == pytest.approx(3, rel=1e-7)


def test_scores_do_not_depend_on_the_basis_of_the_columns() -> None:
    other = orthonormal(A @ np.array([[1.0, 5.0, 0.0], [0.0, 1e-3, 2.0], [0.0, 0.0, 1e4]]))
    assert np.allclose(leverage(other), leverage(U))
    assert np.allclose(lewis_weights(other, 1.0), lewis_weights(U, 1.0), rtol=1e-6)
    assert np.allclose(sensitivities(other, 3.0, 1e-6)[1], sensitivities(U, 3.0, 1e-6)[1], rtol=1e-5)


def test_a_row_of_zeros_has_no_weight() -> None:
    with_zero = orthonormal(np.vstack((A, np.zeros(3))))
    assert lewis_weights(with_zero, 1.0)[-1] < 1e-12
    assert [side[-1] for side in sensitivities(with_zero, 1.0)] == [0, 0]


def test_dependent_columns_and_missing_values_are_refused() -> None:
    with pytest.raises(DataError, match="40 rows of 4 features have rank 3"):
        orthonormal(np.hstack((A, A[:, :1] + A[:, 1:2])))
    with pytest.raises(DataError, match="2 rows of 3 features have rank 2"):
        orthonormal(A[:2])
    with pytest.raises(NotFinite, match="1 of 120 features"):
        orthonormal(np.where(np.arange(120).reshape(40, 3) == 7, np.nan, A))


def test_columns_of_very_different_size_are_not_taken_for_dependent() -> None:
    assert np.allclose(leverage(orthonormal(A * [1.0, 1e-30, 1e30])), leverage(U))


def test_a_ridge_makes_leverage_that_of_the_extended_matrix() -> None:
    B = np.hstack((A, A[:, :1]))
    ridge = 0.1 * np.trace(B.T @ B) / 4
    expected = np.diag(B @ np.linalg.inv(B.T @ B + ridge * np.eye(4)) @ B.T)
    assert np.allclose(leverage(orthonormal(extended(B, 0.1)))[:40], expected)


def test_pivots_take_the_row_that_is_farthest_from_the_span_of_those_before() -> None:
    pivots = pivoted_rows(A, 3)
    for k in range(3):
        volumes = [
            np.linalg.det(A[[*pivots[:k], i]] @ A[[*pivots[:k], i]].T) if i not in pivots[:k] else 0.0
            for i in range(len(A))
        ]
        assert int(np.argmax(volumes)) == pivots[k]
