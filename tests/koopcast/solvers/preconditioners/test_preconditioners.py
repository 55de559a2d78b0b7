import numpy as np
import pytest
import scipy.sparse as sparse
from pydantic import TypeAdapter

from koopcast.errors import InvalidInput
from koopcast.linear import Box, LinearProblem, Profile
from koopcast.solvers.preconditioners import (
    AMGSpec,
    AnyPreconditioner,
    FFTSpec,
    ICSpec,
    ILUSpec,
    JacobiSpec,
    NoneSpec,
    SSORSpec,
)
from koopcast.solvers.preconditioners.ic import factor, planned

RNG = np.random.default_rng
SYMMETRIC = Profile((144,), is_symmetric=True)
HAND = sparse.csr_array(np.array([[4.0, -1.0, 0.0], [-1.0, 5.0, -2.0], [0.0, -2.0, 8.0]]))


def applied(spec, A, r):
    apply = spec.start(SYMMETRIC).prepare(LinearProblem(A, r))
    assert apply is not None
    return apply(r)


def test_none_is_the_identity_and_jacobi_divides_by_the_diagonal():
    r = np.array([4.0, 10.0, 4.0])
    assert applied(NoneSpec(), HAND, r).tolist() == [4, 10, 4]
    assert applied(JacobiSpec(), HAND, r).tolist() == [1, 2, 0.5]


def test_ssor_with_omega_one_has_the_value_computed_by_hand():
    # Forward: 1, (10 + 1)/5 = 2.2, (4 + 4.4)/8 = 1.05; backward: 1.05, 2.2 + 2.1/5 = 2.62, 1 + 2.62/4.
    assert np.allclose(applied(SSORSpec(), HAND, np.array([4.0, 10.0, 4.0])), [1.655, 2.62, 1.05])


@pytest.mark.parametrize("omega", [0.4, 1.0, 1.7])
def test_ssor_is_its_formula(windy, omega):
    A, r = windy(5, 0.6, 0.2), RNG(1).standard_normal(25)
    dense = A.toarray()
    D, L, U = np.diag(np.diag(dense)), np.tril(dense, -1), np.triu(dense, 1)
    z = omega * (2 - omega) * np.linalg.solve(D + omega * U, D @ np.linalg.solve(D + omega * L, r))
    assert np.allclose(applied(SSORSpec(omega=omega), A, r), z)


def incomplete(A):
    lower = sparse.csc_array(sparse.tril(A))
    lower.sort_indices()
    return factor(lower, planned(lower))


def test_ic_of_a_tridiagonal_matrix_is_its_cholesky_factor():
    off = RNG(2).random(49)
    A = sparse.csr_array(sparse.diags_array([off, 2.5 + RNG(3).random(50), off], offsets=[-1, 0, 1]))
    assert np.allclose(incomplete(A).toarray(), np.linalg.cholesky(A.toarray()), atol=1e-14)
    r = RNG(4).standard_normal(50)
    assert np.allclose(A @ applied(ICSpec(), A, r), r)


def test_ic_of_a_full_matrix_is_its_cholesky_factor(spectral):
    A = spectral(np.linspace(1, 9, 12))
    assert np.allclose(incomplete(A).toarray(), np.linalg.cholesky(A.toarray()), atol=1e-13)


def test_ic_reproduces_the_matrix_on_its_pattern_and_nowhere_else(laplacian):
    A = sparse.csr_array(laplacian(9) + sparse.diags_array(RNG(5).random(81)))
    L = incomplete(A)
    error = (L @ L.T).toarray() - A.toarray()
    assert np.abs(error[A.toarray() != 0]).max() < 1e-14
    assert np.abs(error).max() > 1e-3
    assert L.nnz == sparse.tril(A).nnz


def test_ic_of_a_pattern_with_triangles_follows_the_recursion_row_by_row():
    rng = RNG(6)
    B = np.where(rng.random((30, 30)) < 0.2, rng.standard_normal((30, 30)), 0.0)
    A = B + B.T + 12 * np.eye(30)
    L = np.zeros((30, 30))
    for i in range(30):
        for j in range(i):
            if A[i, j]:
                L[i, j] = (A[i, j] - L[i, :j] @ L[j, :j]) / L[j, j]
        L[i, i] = np.sqrt(A[i, i] - L[i, :i] @ L[i, :i])
    assert np.allclose(incomplete(sparse.csr_array(A)).toarray(), L, atol=1e-13)


def test_ic_shifts_the_diagonal_where_a_pivot_would_not_be_positive():
    # Kershaw's matrix: definite, but its incomplete factor breaks down.
    A = sparse.csr_array(np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]]))
    assert np.linalg.eigvalsh(A.toarray()).min() > 0
    L = incomplete(A).toarray()
    shift = (L @ L.T)[0, 0] / 3 - 1
    assert 0.1 < shift < 2
    assert np.allclose((L @ L.T)[A.toarray() != 0], (A.toarray() + 3 * shift * np.eye(4))[A.toarray() != 0])


def test_ic_keeps_its_plan_while_the_pattern_stays(laplacian):
    preconditioner = ICSpec().start(SYMMETRIC)
    r = RNG(7).standard_normal(64)
    for matrix in (laplacian(8), sparse.csr_array(3 * laplacian(8)), laplacian(8) + sparse.eye_array(64)):
        A = sparse.csr_array(matrix)
        assert np.allclose(preconditioner.prepare(LinearProblem(A, r))(r), applied(ICSpec(), A, r))


def test_ilu_without_dropping_is_the_inverse(windy):
    A, r = windy(8, 0.5, 0.3), RNG(8).standard_normal(64)
    assert np.allclose(A @ applied(ILUSpec(drop_tolerance=0.0, fill_factor=100), A, r), r)


def test_fft_inverts_the_box_operator_that_comes_with_the_problem():
    n = 10
    T = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    box = Box(("dirichlet",), 4 * np.sin(np.pi * np.arange(1, n + 1) / (2 * (n + 1))) ** 2)
    r = RNG(9).standard_normal(n)
    apply = FFTSpec().start(SYMMETRIC).prepare(LinearProblem(sparse.csr_array(5 * np.eye(n)), r, nearby=box))
    assert np.allclose(T @ apply(r), r)
    with pytest.raises(InvalidInput, match="no nearby operator"):
        FFTSpec().start(SYMMETRIC).prepare(LinearProblem(sparse.csr_array(T), r))


@pytest.mark.parametrize("spec", [JacobiSpec(), SSORSpec(), ICSpec(), ILUSpec()], ids=lambda spec: spec.kind)
def test_a_singular_matrix_has_no_preconditioner(spec):
    A = sparse.csr_array((np.array([1.0]), (np.array([0]), np.array([0]))), shape=(2, 2))
    assert spec.start(SYMMETRIC).prepare(LinearProblem(A, np.ones(2))) is None


@pytest.mark.parametrize("spec", [AMGSpec(), ICSpec()], ids=lambda spec: spec.kind)
def test_a_method_for_definite_matrices_refuses_others(spec):
    assert spec.refusal(SYMMETRIC) is None
    assert "not symmetric" in spec.refusal(Profile((9,), is_symmetric=False))
    assert "indefinite" in spec.refusal(Profile((9,), is_symmetric=True, is_definite=False))


@pytest.mark.parametrize("kind", ["amg", "ic", "ilu", "jacobi", "none", "ssor"])
def test_a_matrix_that_stays_the_same_is_prepared_once(laplacian, kind):
    spec = TypeAdapter(AnyPreconditioner).validate_python(kind)
    problem = LinearProblem(laplacian(8), np.ones(64))
    preconditioner = spec.start(SYMMETRIC)
    assert preconditioner.prepare(problem) is preconditioner.prepare(problem)
