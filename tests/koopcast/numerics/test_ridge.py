import pytest
import torch

from koopcast.numerics.ridge import covariance_factor, ridge_regression

SEED = torch.Generator().manual_seed(0)


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=SEED, dtype=torch.float64)


def test_the_hand_value() -> None:
    # XᵀX = 14, XᵀY = 28, penalty 0.5 · 14 / 1 = 7: B = 28 / 21; degrees of freedom 14 / 21.
    X = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    fit = ridge_regression(X, 2 * X, 0.5)
    assert float(fit.coefficients) == pytest.approx(4 / 3)
    assert fit.degrees_of_freedom == pytest.approx(2 / 3)


def test_without_penalty_it_is_least_squares() -> None:
    X, Y = _normal(40, 6), _normal(40, 3)
    expected = torch.linalg.lstsq(X, Y).solution
    for ridge in (0.0, 1e-14):
        fit = ridge_regression(X, Y, ridge)
        assert torch.allclose(fit.coefficients, expected, atol=1e-12)
        assert fit.degrees_of_freedom == pytest.approx(6)


def test_without_penalty_a_deficient_problem_gets_the_smallest_solution() -> None:
    X = _normal(40, 2) @ _normal(2, 6)
    Y = _normal(40, 3)
    assert torch.allclose(ridge_regression(X, Y, 0.0).coefficients, torch.linalg.pinv(X) @ Y, atol=1e-10)


def test_the_penalty_is_a_pure_number() -> None:
    X, Y = _normal(40, 6), _normal(40, 3)
    fit = ridge_regression(X, Y, 0.1).coefficients
    assert torch.allclose(ridge_regression(1e3 * X, 1e3 * Y, 0.1).coefficients, fit, atol=1e-12)
    assert torch.allclose(ridge_regression(X.repeat(5, 1), Y.repeat(5, 1), 0.1).coefficients, fit, atol=1e-12)


def test_a_huge_penalty_leaves_nothing() -> None:
    assert float(ridge_regression(_normal(40, 6), _normal(40, 3), 1e12).coefficients.abs().max()) < 1e-10


def test_the_covariance_of_residuals_is_unbiased() -> None:
    # Y = X B + noise of covariance C, 12 features, 30 rows: uncorrected, C would shrink by 12 / 30.
    C = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    L = torch.linalg.cholesky(C)
    found = torch.zeros(2, 2, dtype=torch.float64)
    for _ in range(400):
        X = _normal(30, 12)
        fit = ridge_regression(X, X @ _normal(12, 2) + _normal(30, 2) @ L.mT, 0.0)
        F = covariance_factor(fit.residual, fit.degrees_of_freedom)
        found += F @ F.mT / 400
    # Standard error of a variance from 400 · 18 degrees of freedom: 1.7 %.
    assert torch.allclose(found, C, atol=0.1)
