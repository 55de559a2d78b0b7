from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sparse

from koopcast.linear import LinearProblem, Profile, Solution
from koopcast.solvers.base import SolverSpec


def second_difference(n: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)))


def laplacian_of(n: int) -> sparse.csr_array:
    T, eye = second_difference(n), sparse.eye_array(n)
    return sparse.csr_array(sparse.kron(T, eye) + sparse.kron(eye, T))


@pytest.fixture
def laplacian() -> Callable[[int], sparse.csr_array]:
    """Return a maker of five-point Laplacians over n² nodes."""
    return laplacian_of


@pytest.fixture
def windy() -> Callable[[int, float, float], sparse.csr_array]:
    """Return a maker of five-point Laplacians with a wind (b, c): not symmetric."""

    def make(n: int, b: float, c: float) -> sparse.csr_array:
        D = sparse.diags_array([-0.5, 0.5], offsets=[-1, 1], shape=(n, n))
        eye = sparse.eye_array(n)
        return sparse.csr_array(laplacian_of(n) + b * sparse.kron(eye, D) + c * sparse.kron(D, eye))

    return make


@pytest.fixture
def spectral() -> Callable[[np.ndarray], sparse.csr_array]:
    """Return a maker of symmetric matrices with the given eigenvalues."""

    def make(eigenvalues: np.ndarray) -> sparse.csr_array:
        n = len(eigenvalues)
        Q = np.linalg.qr(np.random.default_rng(5).standard_normal((n, n)))[0]
        A = (Q * eigenvalues) @ Q.T
        return sparse.csr_array((A + A.T) / 2)

    return make


@pytest.fixture
def solve() -> Callable[..., Solution]:
    """Return the solve of one system by fresh state."""

    def run(spec: SolverSpec, A: sparse.csr_array, b: np.ndarray, **profile: bool) -> Solution:
        known = Profile((len(b),), **{"is_symmetric": True, **profile})
        return spec.build(known, np.random.default_rng(0)).solve(LinearProblem(A, b))

    return run
