from itertools import product

import numpy as np
import pytest
import scipy.sparse as sparse

from koopcast.errors import InvalidInput
from koopcast.linear import Box, LinearProblem, Profile, Status
from koopcast.solvers.fft import FFTSpec

KINDS = ("dirichlet", "neumann", "periodic")


def line(kind, n):
    """Return -u'' on n unknowns with unit spacing, and its eigenvalues."""
    T = np.diag(np.full(n, 2.0)) - np.diag(np.ones(n - 1), 1) - np.diag(np.ones(n - 1), -1)
    k = np.arange(n)
    if kind == "dirichlet":
        return T, 4 * np.sin(np.pi * (k + 1) / (2 * (n + 1))) ** 2
    if kind == "neumann":
        T[0, 0] = T[-1, -1] = 1.0
        return T, 4 * np.sin(np.pi * k / (2 * n)) ** 2
    T[0, -1] = T[-1, 0] = -1.0
    return T, 4 * np.sin(np.pi * k / n) ** 2


def boxed(kinds, sizes, shift=0.0):
    matrix, eigenvalues = sparse.csr_array([[shift]]), np.array(shift)
    for kind, n in zip(kinds, sizes, strict=True):
        T, values = line(kind, n)
        matrix = sparse.kron(matrix, sparse.eye_array(n)) + sparse.kron(sparse.eye_array(matrix.shape[0]), T)
        eigenvalues = eigenvalues[..., None] + values
    return sparse.csr_array(matrix), Box(tuple(kinds), eigenvalues)


def solver(box):
    return FFTSpec().build(
        Profile(box.eigenvalues.shape, is_symmetric=True, box=box), np.random.default_rng(0)
    )


@pytest.mark.parametrize("kinds", list(product(KINDS, KINDS)), ids=str)
def test_the_residual_is_at_round_off_for_every_boundary(kinds):
    A, box = boxed(kinds, (24, 17))
    b = A @ np.random.default_rng(1).standard_normal(A.shape[0])
    solution = solver(box).solve(LinearProblem(A, b))
    assert solution.status is Status.CONVERGED
    assert solution.residual <= 1e-13


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_is_within_1e_11_on_256_squared(kind):
    A, box = boxed((kind, kind), (256, 256), shift=0.0 if kind == "dirichlet" else 1e-4)
    b = np.random.default_rng(2).standard_normal(256**2)
    assert solver(box).solve(LinearProblem(A, b)).residual <= 1e-11


@pytest.mark.parametrize("kinds", [("neumann", "neumann"), ("periodic", "neumann"), ("periodic", "periodic")])
def test_of_all_solutions_of_a_singular_system_the_one_without_mean_is_returned(kinds):
    A, box = boxed(kinds, (9, 8))
    x = np.random.default_rng(3).standard_normal(72)
    solution = solver(box).solve(LinearProblem(A, A @ x))
    assert np.allclose(solution.value, x - x.mean(), atol=1e-12)


def test_a_right_hand_side_with_a_mean_has_no_solution_where_constants_are_in_the_kernel():
    A, box = boxed(("neumann", "periodic"), (8, 8))
    b = A @ np.random.default_rng(4).standard_normal(64)
    b *= np.sqrt(3) / np.linalg.norm(b)
    solution = solver(box).solve(LinearProblem(A, b + 1 / 8))
    assert solution.status is Status.BROKE_DOWN
    # What cannot be met is the mean, of norm 1 in a right-hand side of norm 2.
    assert solution.residual == pytest.approx(0.5)


def test_a_problem_with_a_box_of_its_own_is_solved_by_it():
    shared = boxed(("dirichlet",), (16,))[1]
    other, own = boxed(("dirichlet",), (16,), shift=2.0)
    solution = solver(shared).solve(LinearProblem(other, np.ones(16), box=own))
    assert solution.residual <= 1e-14


def test_a_matrix_without_a_box_is_refused(laplacian):
    profile = Profile((8, 8), is_symmetric=True)
    assert "constant coefficients" in FFTSpec().refusal(profile)
    assert FFTSpec().refusal(Profile((8, 8), is_symmetric=True, has_boxes=True)) is None
    with pytest.raises(InvalidInput, match="without its box"):
        FFTSpec().build(profile, np.random.default_rng(0)).solve(LinearProblem(laplacian(8), np.ones(64)))
