import pytest
import torch

from koopcast.numerics import ridge_path as module
from koopcast.numerics.ridge import ridge_regression
from koopcast.numerics.ridge_path import ridge_path

RIDGES = (1e-8, 1e-4, 1e-1)


def matrices(rows: int, features: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X, Y = (torch.randn(rows, size, generator=generator, dtype=torch.float64) for size in (features, 3))
    return X, Y


@pytest.mark.parametrize(("rows", "features"), [(40, 15), (15, 40)])
def test_primal_and_dual_and_singular_values_give_the_same_ridge_regression(rows: int, features: int) -> None:
    X, Y = matrices(rows, features)
    by_gram = ridge_path(X, Y, RIDGES)
    by_singular_values = ridge_path(X, Y, (*RIDGES, 0.0))
    for place, ridge in enumerate(RIDGES):
        exact = ridge_regression(X, Y, ridge).coefficients
        torch.testing.assert_close(by_gram.coefficients[place], exact, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(by_singular_values.coefficients[place], exact, rtol=1e-11, atol=1e-12)


def test_the_gradient_vanishes_at_the_solution() -> None:
    # d/dB (‖X B - Y‖² + λ‖B‖²) = 0 with λ = ridge · ‖X‖² / features.
    X, Y = matrices(12, 30)
    for ridge, B in zip(RIDGES, ridge_path(X, Y, RIDGES).coefficients, strict=True):
        penalty = ridge * X.square().sum() / 30
        assert (X.mT @ (X @ B - Y) + penalty * B).abs().max() < 1e-9


def test_the_condition_number_is_that_of_the_penalised_matrix() -> None:
    X, Y = matrices(60, 10)
    X = X * torch.logspace(0, -2, 10, dtype=torch.float64)
    for ridges in (RIDGES, (*RIDGES, 0.0)):
        found = ridge_path(X, Y, ridges).condition_number
        for ridge, condition in zip(ridges, found, strict=True):
            penalty = ridge * float(X.square().sum()) / 10
            exact = torch.linalg.cond(torch.cat([X, penalty**0.5 * torch.eye(10, dtype=X.dtype)]))
            assert float(condition) == pytest.approx(float(exact), rel=0.05)


def test_a_matrix_that_rounding_leaves_without_a_factor_goes_by_singular_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Equal columns: XᵀX has rank 1, and a penalty of 1e-30 drowns in its rounding.
    monkeypatch.setattr(module, "GRAM_LIMIT", 0.0)
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(50, 1, generator=generator, dtype=torch.float64).expand(50, 8).contiguous() * 1e3
    Y = X[:, :1] * 8.0
    found = ridge_path(X, Y, (1e-30,)).coefficients[0]
    torch.testing.assert_close(found, torch.ones(8, 1, dtype=torch.float64), rtol=1e-9, atol=0.0)


def test_zero_features_fit_nothing() -> None:
    X, Y = torch.zeros(5, 4, dtype=torch.float64), torch.ones(5, 2, dtype=torch.float64)
    found = ridge_path(X, Y, (0.0,))
    assert bool((found.coefficients == 0).all())
    assert found.condition_number.tolist() == [1.0]
