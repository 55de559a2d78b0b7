"""Estimation and prediction as a pair of maps: identities, refusals, and what breaks them."""

import pytest
import torch

from koopcast.errors import InvalidInput
from koopcast.numerics.regression import Regression, violations
from koopcast.studies.gauss_markov import SUBJECTS, GaussMarkovSpec


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_estimation_is_weighted_least_squares():
    X, y, root = normal(9, 3), normal(9, seed=1), normal(9, 9, seed=2)
    R = root @ root.T
    W = torch.linalg.inv(R)
    expected = torch.linalg.solve(X.T @ W @ X, X.T @ W @ y)
    regression = Regression.of(X, R)
    assert torch.allclose(regression.estimate(y), expected, atol=1e-9)
    assert torch.allclose(regression.covariance(), torch.linalg.inv(X.T @ W @ X), atol=1e-9)


def test_dependent_columns_are_refused_with_their_rank_unless_the_shortest_solution_is_asked_for():
    X = torch.cat((normal(9, 3), normal(9, 3)[:, :1] * 2), dim=1)
    with pytest.raises(InvalidInput, match=r"4 columns and the numerical rank 3.*pseudoinverse"):
        Regression.of(X)
    y = normal(9, seed=1)
    assert torch.allclose(Regression.of(X, pseudoinverse=True).estimate(y), torch.linalg.pinv(X) @ y)


def test_a_wrong_estimator_breaks_the_identities():
    right = Regression.of(normal(9, 3))
    wrong = Regression(right.X, right.root, right.basis, 1.001 * right.inverse)
    found = violations(wrong, normal(3, seed=1), normal(9, seed=2))
    assert max(violations(right, normal(3, seed=1), normal(9, seed=2)).values()) < 1e-14
    for name in ("unit", "idempotent", "triangle_of_f", "triangle_of_g", "orthogonal", "pythagoras"):
        assert found[name] > 1e-4


def test_the_study_finds_no_violation_and_says_what_it_looked_at():
    findings = GaussMarkovSpec(rows=20, competitors=10).run(seed=4)
    assert set(findings.scores["violation"]) == set(SUBJECTS)
    assert findings.tables["identities"]["violation"].max() < 1e-8
    assert len(findings.tables["identities"].query("check == 'weighted'")) == 10
    assert "unit" not in set(findings.tables["identities"].query("check == 'deficient'")["identity"])
