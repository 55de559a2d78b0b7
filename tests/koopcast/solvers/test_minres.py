import numpy as np
import pytest

from koopcast.linear import Status
from koopcast.solvers.minres import MINRESSpec


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_residual_is_the_smallest_over_the_krylov_space_of_an_indefinite_matrix(spectral, solve, steps):
    A, b = spectral(np.linspace(-3, 5, 30)), np.random.default_rng(1).standard_normal(30)
    K = np.linalg.qr(np.stack([np.linalg.matrix_power(A.toarray(), p) @ b for p in range(steps)], axis=1))[0]
    best = np.linalg.norm(b - A @ K @ np.linalg.lstsq(A @ K, b, rcond=None)[0]) / np.linalg.norm(b)
    assert solve(MINRESSpec(max_iterations=steps), A, b).residual == pytest.approx(best, rel=1e-8)


def test_it_ends_at_the_least_squares_residual_where_there_is_no_solution(spectral, solve):
    eigenvalues = np.concatenate([[0.0], np.linspace(1, 4, 29)])
    A = spectral(eigenvalues)
    null = np.linalg.eigh(A.toarray())[1][:, 0]
    b = np.random.default_rng(2).standard_normal(30)
    solution = solve(MINRESSpec(), A, b)
    assert solution.status is Status.BROKE_DOWN
    assert solution.residual == pytest.approx(abs(null @ b) / np.linalg.norm(b), rel=1e-6)
