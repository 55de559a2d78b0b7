"""Permutations of configurations of bits: cycles, their roots of unity, and modes along them."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy import sparse
from scipy.optimize import linear_sum_assignment


def configurations(bits: int) -> Int[np.ndarray, "configuration bit"]:
    """Return all configurations of so many bits in order of their number Σ_j s_j 2ʲ (little endian)."""
    return np.asarray((np.arange(2**bits)[:, None] >> np.arange(bits)) & 1)


def numbered(bits: Float[np.ndarray, "*batch bit"]) -> Int[np.ndarray, "*batch"]:
    """Return the numbers Σ_j s_j 2ʲ of configurations."""
    return np.asarray(np.rint(bits).astype(np.int64) @ (1 << np.arange(bits.shape[-1], dtype=np.int64)))


def is_permutation(table: Sequence[int] | Int[np.ndarray, " n"]) -> bool:
    """Return whether each number below the length occurs once."""
    return sorted(map(int, table)) == list(range(len(table)))


def cycles(sigma: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " length"]]:
    """Return the cycles j, σ(j), σ(σ(j)), ... of a permutation, each from its smallest member on."""
    following, is_new, found = sigma.tolist(), [True] * len(sigma), []
    for start in range(len(following)):
        cycle, place = [], start
        while is_new[place]:
            is_new[place] = False
            cycle.append(place)
            place = following[place]
        if cycle:
            found.append(np.array(cycle))
    return found


def roots_of_unity(length: int) -> Complex[np.ndarray, " length"]:
    """Return e^{2πi k / length}, k = 0, 1, ..."""
    return np.asarray(np.exp(2j * np.pi * np.arange(length) / length))


def spectrum(sigma: Int[np.ndarray, " n"]) -> Complex[np.ndarray, " n"]:
    """Return the eigenvalues of a permutation: of each cycle all roots of unity of its length."""
    return np.concatenate([roots_of_unity(len(cycle)) for cycle in cycles(sigma)])


def eigenfunctions(
    sigma: Int[np.ndarray, " n"],
) -> Iterator[tuple[Complex[np.ndarray, " length"], Complex[np.ndarray, "n length"]]]:
    """Yield eigenvalues λ and functions g with g∘σ = λ g of each cycle: g(σʲ(c)) = λʲ, and 0 elsewhere."""
    for cycle in cycles(sigma):
        values, length = roots_of_unity(len(cycle)), len(cycle)
        modes = np.zeros((len(sigma), length), dtype=complex)
        # Exponents modulo the length: powers of a rounded root would drift along a long cycle.
        modes[cycle] = values[np.outer(np.arange(length), np.arange(length)) % length]
        yield values, modes


def transfer_matrix(sigma: Int[np.ndarray, " n"]) -> sparse.csr_array:
    """Return S of p' = S p: 1 at (σ(j), j), so that Sᵀ takes an observable g to g∘σ."""
    size = len(sigma)
    return sparse.csr_array((np.ones(size), (sigma, np.arange(size))), shape=(size, size))


def flip_matrix(bits: int, probability: float) -> Float[np.ndarray, "n n"]:
    """Return the transition matrix of bits that flip independently, the product of [[1-f, f], [f, 1-f]]."""
    once = np.array([[1 - probability, probability], [probability, 1 - probability]])
    result = np.ones((1, 1))
    for _ in range(bits):
        result = np.kron(once, result)
    return result


def matched_distance(one: Complex[np.ndarray, " n"], other: Complex[np.ndarray, " n"]) -> float:
    """Return the largest distance within pairs of two spectra, multiplicities counted, in the pairing that
    makes the sum of squares smallest.
    """
    gaps = np.abs(one[:, None] - other)
    return float(gaps[linear_sum_assignment(gaps**2)].max())


def directed_distance(one: Complex[np.ndarray, " n"], other: Complex[np.ndarray, " m"]) -> float:
    """Return the directed Hausdorff distance: how far a member of `one` is at most from the nearest of
    `other`.
    """
    return float(np.abs(one[:, None] - other).min(axis=1).max())


def hamiltonian(sigma: Int[np.ndarray, " n"]) -> Complex[np.ndarray, "n n"]:
    """Return the Hermitian H = i log S, S = e^{-iH}: energies 2πk/l in (-π, π] for a cycle of length l.

    On a cycle c_0, c_1, ... it is Σ_k E_k |k><k| with <c_j|k> = e^{i E_k j} / √l, which S multiplies by
    e^{-i E_k}.
    """
    H = np.zeros((len(sigma), len(sigma)), dtype=complex)
    for cycle in cycles(sigma):
        length = len(cycle)
        k = np.arange(length)
        energies = energies_of(length)
        # Exponents modulo the length, as in `eigenfunctions`.
        modes = roots_of_unity(length)[np.outer(np.arange(length), k) % length] / np.sqrt(length)
        H[np.ix_(cycle, cycle)] = (modes * energies) @ modes.conj().T
    return H


def energies_of(length: int) -> Float[np.ndarray, " length"]:
    """Return 2πk / length, k = 0, 1, ..., moved into (-π, π]."""
    k = np.arange(length)
    return np.asarray(2 * np.pi * np.where(2 * k > length, k - length, k) / length)


def complex_structure(
    sigma: Int[np.ndarray, " n"], involution: Int[np.ndarray, " n"]
) -> tuple[sparse.csr_array, Int[np.ndarray, " half"]]:
    """Return J with J² = -1 and S J = J S, and the half of the configurations on which ψ(s) = q(s) + i q(θs).

    The involution θ commutes with σ. Of two cycles that it exchanges the one with the smallest member is in
    the half; i ψ belongs to J q, (J q)(s) = -q(θs) and (J q)(θs) = q(s), and one step permutes the ψ(s).
    J is 0 on cycles that θ maps to themselves: there the mode of the eigenvalue 1 is alone, and a real
    space of odd dimension has no J.
    """
    half = np.concatenate(
        [
            cycle if cycle[0] < involution[cycle].min() else cycle[:0]
            for cycle in cycles(sigma)
        ]
    )  # fmt: skip
    other, size = involution[half], len(sigma)
    rows, columns = np.concatenate([half, other]), np.concatenate([other, half])
    signs = np.repeat([-1.0, 1.0], len(half))
    return sparse.csr_array((signs, (rows, columns)), shape=(size, size)), half
