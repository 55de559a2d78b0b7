"""Permutations: cycles, roots of unity, which matrix moves densities and which observables."""

import numpy as np
import pytest
from scipy.linalg import expm

from koopcast.numerics.permutations import (
    complex_structure,
    configurations,
    cycles,
    directed_distance,
    eigenfunctions,
    flip_matrix,
    hamiltonian,
    matched_distance,
    numbered,
    spectrum,
    transfer_matrix,
)

# A cycle of three, a fixed point, and a swap: no power below 6 is the identity, and S is not symmetric.
SIGMA = np.array([1, 2, 0, 3, 5, 4])


def test_numbers_of_configurations_are_little_endian() -> None:
    assert configurations(3)[6].tolist() == [0, 1, 1]
    assert numbered(configurations(5).astype(float)).tolist() == list(range(32))


def test_cycles_begin_at_their_smallest_member() -> None:
    assert [cycle.tolist() for cycle in cycles(SIGMA)] == [[0, 1, 2], [3], [4, 5]]


def test_densities_move_by_the_matrix_and_observables_by_its_transpose() -> None:
    S = transfer_matrix(SIGMA).toarray()
    start = np.eye(6)[0]
    assert (S @ start).tolist() == np.eye(6)[1].tolist()
    g = np.arange(6.0) ** 2
    assert (S.T @ g).tolist() == g[SIGMA].tolist()
    assert (S @ g).tolist() != g[SIGMA].tolist()


def test_eigenvalues_are_the_roots_of_unity_of_the_cycles() -> None:
    S = transfer_matrix(SIGMA).toarray()
    assert matched_distance(np.linalg.eigvals(S).astype(complex), spectrum(SIGMA)) < 1e-14
    third = np.exp(2j * np.pi / 3)
    expected = np.array([1, third, third**2, 1, 1, -1])
    assert matched_distance(expected, spectrum(SIGMA)) < 1e-15


def test_modes_along_cycles_are_eigenfunctions_of_composition() -> None:
    values, modes = zip(*eigenfunctions(SIGMA), strict=True)
    g, eigenvalues = np.hstack(modes), np.concatenate(values)
    assert np.abs(g[SIGMA] - eigenvalues * g).max() < 1e-15
    assert np.linalg.matrix_rank(g) == 6


def test_a_translation_has_the_dispersion_of_a_free_mover() -> None:
    # One mover on a ring of 12: the density e^{ikx} comes back times e^{-ik}, energy k.
    sigma = (np.arange(12) + 1) % 12
    k = 2 * np.pi * np.arange(12) / 12
    waves = np.exp(1j * np.outer(np.arange(12), k))
    assert np.abs(transfer_matrix(sigma) @ waves - np.exp(-1j * k) * waves).max() < 1e-14


@pytest.mark.parametrize("f", [0.1, 0.37])
def test_parities_of_k_bits_shrink_by_the_kth_power_under_flips(f: float) -> None:
    bits = configurations(4)
    parities = (-1.0) ** (bits @ bits.T)
    shrunk = flip_matrix(4, f) @ parities
    assert np.abs(shrunk - parities * (1 - 2 * f) ** bits.sum(1)).max() < 1e-15


def test_distances_of_spectra_count_multiplicity_or_not() -> None:
    one, other = np.array([0, 0, 1 + 0j]), np.array([0, 1, 1 + 0j])
    assert matched_distance(one, other) == 1
    assert directed_distance(one, other) == directed_distance(other, one) == 0
    assert directed_distance(np.array([0, 3j]), np.array([0, 1j])) == 2
    assert directed_distance(np.array([0, 1j]), np.array([0, 3j])) == 1


def test_the_hamiltonian_generates_the_permutation() -> None:
    sigma = np.array([1, 2, 0, 4, 3, 5])
    H = hamiltonian(sigma)
    assert np.abs(H - H.conj().T).max() < 1e-15
    assert np.abs(expm(-1j * H) - transfer_matrix(sigma).toarray()).max() < 1e-14
    # Cycles of length 3, 2 and 1: energies 2πk/l in (-π, π].
    energies = [0, 2 * np.pi / 3, -2 * np.pi / 3, 0, np.pi, 0]
    assert np.allclose(np.linalg.eigvalsh(H), np.sort(energies))


def test_the_complex_structure_squares_to_minus_one_and_commutes() -> None:
    # The cycles (0 1 2) and (3 5 4) are exchanged, and (6 7) is mapped to itself.
    sigma = np.array([1, 2, 0, 5, 3, 4, 7, 6])
    theta = np.array([3, 5, 4, 0, 2, 1, 7, 6])
    assert (sigma[theta] == theta[sigma]).all()
    J, half = complex_structure(sigma, theta)
    assert half.tolist() == [0, 1, 2]
    S, dense = transfer_matrix(sigma).toarray(), J.toarray()
    assert (dense @ dense == -np.diag([1, 1, 1, 1, 1, 1, 0, 0])).all()
    assert (S @ dense == dense @ S).all()
    q = np.arange(8.0)
    psi, turned = (u[half] + 1j * u[theta[half]] for u in (q, J @ q))
    assert (turned == 1j * psi).all()
    # One step moves ψ along the cycle.
    after = S @ q
    assert (after[half] + 1j * after[theta[half]] == psi[[2, 0, 1]]).all()
