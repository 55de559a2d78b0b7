import numpy as np
import pytest
import scipy.sparse as sparse

from koopcast.linear import LinearProblem
from koopcast.solvers.arnoldi import arnoldi
from koopcast.solvers.gmres import GMRESSpec
from koopcast.solvers.iterative import Operator
from koopcast.solvers.preconditioners import JacobiSpec

RNG = np.random.default_rng


def smallest_residual(A, b, spaces):
    """Return min ‖b - A x‖ / ‖b‖ over x in the span of the columns."""
    Q = np.linalg.qr(spaces)[0]
    return np.linalg.norm(b - A @ Q @ np.linalg.lstsq(A @ Q, b, rcond=None)[0]) / np.linalg.norm(b)


def krylov(A, b, steps):
    vectors = [b / np.linalg.norm(b)]
    for _ in range(steps - 1):
        w = A @ vectors[-1]
        vectors.append(w / np.linalg.norm(w))
    return np.stack(vectors, axis=1)


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_the_residual_is_the_smallest_over_the_krylov_space(windy, solve, steps):
    A, b = windy(6, 1.5, 0.7), RNG(1).standard_normal(36)
    solution = solve(GMRESSpec(max_iterations=steps), A, b, is_symmetric=False)
    assert solution.residual == pytest.approx(smallest_residual(A, b, krylov(A, b, steps)), rel=1e-8)


def test_preconditioning_from_the_right_minimises_the_true_residual(windy, solve):
    A = sparse.csr_array(sparse.diags_array(np.logspace(0, 2, 36)) @ windy(6, 0.5, 0.2))
    b = RNG(2).standard_normal(36)
    scaling = 1 / A.diagonal()
    space = scaling[:, None] * krylov(A.toarray() * scaling, b, 5)
    solution = solve(GMRESSpec(max_iterations=5, preconditioner=JacobiSpec()), A, b, is_symmetric=False)
    assert solution.residual == pytest.approx(smallest_residual(A, b, space), rel=1e-8)


def test_a_restart_begins_anew_from_the_residual(windy, solve):
    A, b = windy(6, 1.5, 0.7), RNG(3).standard_normal(36)
    first = solve(GMRESSpec(m=4, max_iterations=4), A, b, is_symmetric=False)
    r = b - A @ first.value
    second = solve(GMRESSpec(m=4, max_iterations=4), A, r, is_symmetric=False)
    both = solve(GMRESSpec(m=4, max_iterations=8), A, b, is_symmetric=False)
    assert np.allclose(both.value, first.value + second.value, rtol=1e-10)


def test_it_ends_after_as_many_steps_as_distinct_eigenvalues(spectral, solve):
    A = spectral(np.resize([-2.0, 1.0, 5.0], 40))
    assert solve(GMRESSpec(), A, RNG(4).random(40), is_definite=False).iterations == 3


def test_stagnation_of_the_cyclic_shift_ends_it_before_the_budget(solve):
    # b = e₁ under the cyclic shift: no residual below ‖b‖ before the n-th step, and m < n.
    n = 30
    A = sparse.csr_array(np.roll(np.eye(n), 1, axis=0))
    b = np.eye(n)[0]
    solution = solve(GMRESSpec(m=10), A, b, is_symmetric=False)
    assert (str(solution.status), solution.iterations) == ("broke down", 10)
    assert solve(GMRESSpec(m=30), A, b, is_symmetric=False).residual <= 1e-12


def test_the_arnoldi_relation_holds_with_a_space_projected_out(windy):
    A, rng = windy(6, 1.5, 0.7), RNG(5)
    W = np.empty((36, 12), order="F")
    C = np.linalg.qr(rng.standard_normal((36, 3)))[0]
    W[:, :3] = C
    r = rng.standard_normal(36)
    r -= C @ (C.T @ r)
    operator = Operator(LinearProblem(A, r), lambda y: y)
    G = arnoldi(operator, W, 3, r, 0.0)
    assert np.allclose(A @ W[:, 3:11], W @ G, atol=1e-12)
    assert np.allclose(W.T @ W, np.eye(12), atol=1e-13)
    assert operator.applications == G.shape[1] == 8


def test_the_arnoldi_process_stops_at_the_residual_that_it_foresees(windy, solve):
    A, b = windy(12, 1.5, 0.7), RNG(6).standard_normal(144)
    target = 1e-3 * np.linalg.norm(b)
    steps = arnoldi(Operator(LinearProblem(A, b), lambda y: y), np.empty((144, 41), order="F"), 0, b, target)
    count = steps.shape[1]
    before, at = (
        solve(GMRESSpec(max_iterations=n), A, b, is_symmetric=False).residual for n in (count - 1, count)
    )
    assert at <= 1e-3 < before
