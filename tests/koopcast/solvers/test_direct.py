import numpy as np
import pytest
import scipy.sparse as sparse

import koopcast.solvers.direct as module
from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.direct import DirectSpec, factorised

GENERATOR = np.random.default_rng(0)


def test_one_factor_serves_all_right_hand_sides_of_a_matrix(laplacian, monkeypatch):
    factors = []
    monkeypatch.setattr(module, "factorised", lambda A, profile: factors.append(1) or factorised(A, profile))
    A, B = laplacian(8), sparse.csr_array(2 * laplacian(8))
    solver = DirectSpec().build(Profile((8, 8), is_symmetric=True, is_shared=True), GENERATOR)
    for matrix, expected in ((A, 1), (A, 1), (A, 1), (B, 2), (B, 2)):
        b = GENERATOR.standard_normal(64)
        assert np.allclose(matrix @ solver.solve(LinearProblem(matrix, b)).value, b)
        assert len(factors) == expected


def test_symmetric_mode_fills_less_than_column_ordering(laplacian):
    A = laplacian(40)
    symmetric = factorised(A, Profile((40, 40), is_symmetric=True))
    general = factorised(A, Profile((40, 40), is_symmetric=False))
    assert symmetric.nnz < 0.7 * general.nnz


def test_an_indefinite_matrix_with_zeros_on_its_diagonal_is_factored(solve):
    n = 30
    rng = np.random.default_rng(3)
    B = sparse.csr_array(np.eye(n) + 0.1 * rng.standard_normal((n, n)))
    saddle = sparse.csr_array(sparse.block_array([[None, B], [B.T, None]]))
    solution = solve(DirectSpec(), saddle, rng.standard_normal(2 * n), is_definite=False)
    assert solution.residual <= 1e-12


def test_refinement_brings_the_residual_of_a_spoilt_factor_below_the_tolerance(laplacian, monkeypatch, solve):
    # A factor of a slightly different matrix stands for one that lost digits: each step gains a few.
    monkeypatch.setattr(module, "factorised", lambda A, p: factorised(sparse.csr_array(1.001 * A), p))
    b = np.ones(64)
    without = solve(DirectSpec(refinements=0), laplacian(8), b)
    once = solve(DirectSpec(refinements=1), laplacian(8), b)
    enough = solve(DirectSpec(refinements=5), laplacian(8), b)
    assert without.residual == pytest.approx(1e-3, rel=0.01)
    assert once.residual == pytest.approx(1e-6, rel=0.01)
    assert (without.status, once.status, enough.status) == (*[Status.BROKE_DOWN] * 2, Status.CONVERGED)
    assert enough.applications == 5
