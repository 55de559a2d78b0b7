from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sparse

from koopcast.linear import LinearProblem, Profile, Status
from koopcast.solvers.learners.fixed import FixedSpec
from koopcast.solvers.ssor import SSOR, SSORSpec

RNG = np.random.default_rng


def definite(size: int) -> sparse.csr_array:
    B = RNG(1).standard_normal((size, size))
    return sparse.csr_array(B @ B.T + 3 * np.eye(size))


def square(points: int) -> sparse.csr_array:
    line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(points, points))
    eye = sparse.eye_array(points)
    return sparse.csr_array(sparse.kron(line, eye) + sparse.kron(eye, line))


def test_the_preconditioner_has_its_hand_value() -> None:
    # A = [[2, -1], [-1, 2]], ω = 3/2: D + ωL = [[2, 0], [-1.5, 2]], over ω(2 - ω) = 0.75 the product
    # (D + ωL) D⁻¹ (D + ωL)ᵀ = [[2, -1.5], [-1.5, 3.125]] is M = [[8/3, -2], [-2, 25/6]].
    # M (3, 6) = (-4, 19), so M⁻¹ (-4, 19) = (3, 6).
    A = sparse.csr_array(np.array([[2.0, -1.0], [-1.0, 2.0]]))
    assert SSOR(A, 1.5)(np.array([-4.0, 19.0])) == pytest.approx([3.0, 6.0], rel=1e-14)


@pytest.mark.parametrize("omega", [0.3, 1.0, 1.7])
def test_the_preconditioner_inverts_the_product_of_its_definition(omega: float) -> None:
    A = definite(9)
    D, L = np.diag(A.diagonal()), np.tril(A.toarray(), -1)
    M = (D + omega * L) @ np.linalg.inv(D) @ (D + omega * L).T / (omega * (2 - omega))
    r = RNG(0).standard_normal(9)
    assert SSOR(A, omega)(r) == pytest.approx(np.linalg.solve(M, r), rel=1e-10)


def test_a_matrix_without_coupling_takes_one_iteration() -> None:
    # M = A/(ω (2 - ω)) is then a multiple of A: the first search direction is the error.
    A = sparse.csr_array(np.diag([1.0, 5.0, 9.0]))
    x, iterations, status = SSORSpec().iterate(A, np.ones(3), 1.3)
    assert (iterations, status) == (1, Status.CONVERGED)
    assert x == pytest.approx([1.0, 0.2, 1 / 9])


def test_no_more_iterations_than_unknowns_and_the_error_falls_in_the_norm_of_the_matrix() -> None:
    A, b = definite(10), RNG(4).standard_normal(10)
    x = np.linalg.solve(A.toarray(), b)
    errors = []
    for cap in range(1, 11):
        y, _, status = SSORSpec(max_iterations=cap, tolerance=1e-12).iterate(A, b, 1.4)
        errors.append((y - x) @ (A @ (y - x)))
    assert status is Status.CONVERGED
    assert all(later < earlier for earlier, later in pairwise(errors))


def test_the_best_omega_gains_half_an_order_in_the_mesh() -> None:
    # At ω = 2/(1 + 2 sin(πh/2)) the condition number of M⁻¹A grows like 1/h, that of A like 1/h²: doubling
    # the mesh multiplies iterations by about √2, where plain conjugate gradients take twice as many.
    counts = []
    for points in (15, 31, 63):
        omega = 2.0 / (1.0 + 2.0 * np.sin(np.pi / (2 * (points + 1))))
        b = RNG(0).standard_normal(points**2)
        counts.append(SSORSpec().iterate(square(points), b, omega)[1])
    assert 1.2 < (counts[2] / counts[0]) ** 0.5 < 1.6


@pytest.mark.parametrize("omega", [0.05, 1.0, 1.95])
def test_every_omega_between_zero_and_two_converges(omega: float) -> None:
    A, b = square(12), RNG(2).standard_normal(144)
    spec = SSORSpec(omega=FixedSpec(omega=omega))
    solution = spec.build(Profile((12, 12), is_symmetric=True), RNG(0)).solve(LinearProblem(A, b))
    assert solution.status is Status.CONVERGED
    assert np.linalg.norm(b - A @ solution.value) < 1e-8 * np.linalg.norm(b)
    assert solution.figures == {"omega": omega, "cost": float(solution.iterations)}


def test_an_indefinite_matrix_breaks_down_without_a_raise() -> None:
    A = sparse.csr_array(np.array([[1.0, 4.0], [4.0, 1.0]]))
    solver = SSORSpec().build(Profile((2,), is_symmetric=True), RNG(0))
    assert solver.solve(LinearProblem(A, np.array([1.0, -1.0]))).status is Status.BROKE_DOWN
