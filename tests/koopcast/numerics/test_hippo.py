"""HiPPO matrices: structure, conditioning, perturbations, transfer functions."""

import numpy as np
import pytest

from koopcast.errors import InvalidInput
from koopcast.numerics.hippo import Perturbation, hippo_legs, low_rank, normal_part, perturbed, responses


def test_the_matrix_of_order_three_by_hand() -> None:
    A, B = hippo_legs(3)
    root = np.sqrt([1, 3, 5])
    assert np.allclose(A, [[-1, 0, 0], [-root[1], -2, 0], [-root[2], -root[1] * root[2], -3]])
    assert np.allclose(B, root)


def test_legendre_coefficients_of_the_past_obey_the_matrix() -> None:
    # Of u(τ) = τ on [0, t]: c_j(t) = √(2j+1)/t ∫ u(τ) P_j(2τ/t - 1) dτ, and t c' = A c + B u(t).
    from numpy.polynomial.legendre import Legendre, leggauss

    nodes, weights = leggauss(20)

    def coefficients(t: float) -> np.ndarray:
        past = t * (nodes + 1) / 2
        return np.array(
            [np.sqrt(2 * j + 1) / 2 * np.sum(weights * past * Legendre.basis(j)(nodes)) for j in range(6)]
        )

    A, B = hippo_legs(6)
    t, h = 1.7, 1e-5
    slope = (coefficients(t + h) - coefficients(t - h)) / (2 * h)
    assert np.allclose(t * slope, A @ coefficients(t) + B * t, atol=1e-8)


@pytest.mark.parametrize("n", [2, 8, 33])
def test_the_low_rank_part_makes_it_normal(n: int) -> None:
    A, P = hippo_legs(n)[0], low_rank(n)
    N = normal_part(n)
    V = N.vectors
    assert np.allclose(V.conj().T @ V, np.eye(n), atol=1e-12)
    assert np.allclose(V @ np.diag(N.eigenvalues) @ V.conj().T, A + np.outer(P, P), atol=1e-9 * n**2)
    assert np.allclose(N.eigenvalues.real, -0.5)


def test_eigenvectors_of_the_matrix_are_useless_and_become_more_so() -> None:
    conditions = [np.linalg.cond(np.linalg.eig(hippo_legs(n)[0])[1]) for n in (4, 8, 16, 32)]
    assert conditions[2] > 1e9
    assert conditions == sorted(conditions)


@pytest.mark.parametrize("n", [2, 16, 32])
def test_a_searched_perturbation_is_small_stable_and_well_conditioned(n: int) -> None:
    found = perturbed(n, Perturbation(), 0)
    A, E = hippo_legs(n)[0], found.perturbation
    values, V = found.eigenvalues, found.vectors
    assert np.allclose(V @ np.diag(values) @ np.linalg.inv(V), A + E, atol=1e-9 * n**2)
    assert found.condition < 50
    assert values.real.max() < -0.3
    assert np.linalg.norm(E, 2) <= 0.3 * np.linalg.norm(A, 2)
    assert perturbed(n, Perturbation(), 0) is found
    if n > 2:
        assert not np.array_equal(perturbed(n, Perturbation(), 1).perturbation, E)


@pytest.mark.parametrize("n", [8, 16, 32])
def test_the_transfer_function_of_a_small_perturbation_obeys_the_bound(n: int) -> None:
    # |G - G_E| ≤ (2 ln n + 4) ε for B and C of length 1, up to the order ε².
    A, B = hippo_legs(n)
    B, draws, epsilon = B / np.linalg.norm(B), np.random.default_rng(n), 1e-4
    frequencies = 1j * np.concatenate([normal_part(n).eigenvalues.imag, np.linspace(-5, 5, 41)])
    exact = responses(A, B, frequencies)
    for _ in range(5):
        E = draws.standard_normal((n, n))
        E *= epsilon / np.linalg.norm(E, 2)
        # The largest over all C of length 1.
        difference = np.linalg.norm(responses(A + E, B, frequencies) - exact, axis=1).max()
        assert 0 < difference <= (2 * np.log(n) + 4) * epsilon * 1.01


def test_dropping_the_low_rank_part_changes_the_response_at_its_frequencies_whatever_the_order() -> None:
    for n in (8, 16, 32):
        A, B = hippo_legs(n)
        N, B = normal_part(n), B / np.linalg.norm(B)
        s = 1j * N.eigenvalues.imag
        halved = np.linalg.norm(responses(A, B, s) - responses(A + N.perturbation, B, s) / 2, axis=1).max()
        ptd = np.linalg.norm(
            responses(A, B, s) - responses(A + perturbed(n, Perturbation(), 0).perturbation, B, s), axis=1
        ).max()
        assert halved > 0.55
        assert ptd < halved / 4


def test_a_random_perturbation_that_makes_the_model_grow_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"size 32 an eigenvalue with the real part \+"):
        perturbed(32, Perturbation(relative=0.1, optimise=False), 0)
    assert perturbed(4, Perturbation(relative=0.01, optimise=False), 0).eigenvalues.real.max() < 0
