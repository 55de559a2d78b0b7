"""Functions of the unit cube that are orthonormal under the uniform measure, and points that resolve them."""

from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import comb
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from scipy.special import eval_legendre, ndtr, ndtri

from koopcast.numerics.sobol import sobol_net

Basis: TypeAlias = Literal["legendre", "hermite", "fourier"]
"""Polynomials for uniform parameters, polynomials of Φ⁻¹(u) for normal ones, waves for periodic ones."""


@dataclass(frozen=True)
class Design:
    """Points of the unit cube with weights under which they stand for the uniform measure."""

    points: Float[np.ndarray, "point dimension"]
    density: Float[np.ndarray, " point"]
    """Uniform measure per point, 1 in mean."""


def num_functions(basis: Basis, degree: int, dimension: int) -> int:
    """Return how many products of the functions of single coordinates have at most this total degree."""
    if basis != "fourier":
        return comb(dimension + degree, dimension)
    # Each of j coordinates that take part has a frequency of at least 1, and a sine and a cosine of it.
    return sum(comb(dimension, j) * comb(degree, j) * 2**j for j in range(min(dimension, degree) + 1))


def exponents(basis: Basis, count: int, dimension: int) -> Int[np.ndarray, "count dimension"]:
    """Return which function of each coordinate enters the first `count` products, by total degree."""
    degree, found = 0, [(0,) * dimension]
    while len(found) < count:
        degree += 1
        found += _of_degree(basis, degree, dimension)
    return np.array(found[:count], dtype=np.int64).reshape(count, dimension)


def degrees(basis: Basis, count: int, dimension: int) -> Int[np.ndarray, " count"]:
    """Return the total degree of the first `count` products; that of a wave is its frequency."""
    chosen = exponents(basis, count, dimension)
    return np.asarray(((chosen + 1) // 2 if basis == "fourier" else chosen).sum(axis=1))


def _of_degree(basis: Basis, degree: int, dimension: int) -> list[tuple[int, ...]]:
    """Return the products of one total degree; frequency j of a wave has the numbers 2 j - 1 and 2 j."""
    powers = [
        tuple(coordinates.count(axis) for axis in range(dimension))
        for coordinates in combinations_with_replacement(range(dimension), degree)
    ]
    if basis != "fourier":
        return powers
    return [item for power in powers for item in product(*((2 * j - 1, 2 * j) if j else (0,) for j in power))]


def evaluate(
    basis: Basis, points: Float[np.ndarray, "point dimension"], count: int
) -> Float[np.ndarray, "point count"]:
    """Return the first `count` orthonormal functions at points of the unit cube."""
    chosen = exponents(basis, count, points.shape[1])
    values = np.ones((len(points), count))
    for axis in range(points.shape[1]):
        table = _line(basis, points[:, axis], int(chosen[:, axis].max()) + 1)
        values *= table[:, chosen[:, axis]]
    return values


def _line(basis: Basis, u: Float[np.ndarray, " point"], count: int) -> Float[np.ndarray, "point count"]:
    if basis == "legendre":
        orders = np.arange(count)
        return np.sqrt(2 * orders + 1) * eval_legendre(orders, 2 * u[:, None] - 1)
    table = np.ones((len(u), count))
    if basis == "fourier":
        frequency = np.arange(1, count // 2 + 1)
        table[:, 1::2] = np.sqrt(2) * np.cos(2 * np.pi * frequency * u[:, None])
        table[:, 2::2] = np.sqrt(2) * np.sin(2 * np.pi * frequency[: (count - 1) // 2] * u[:, None])
        return table
    # He_{k+1} = z He_k - k He_{k-1}, divided by √(k+1)! so that nothing overflows.
    z = ndtri(u)
    for k in range(count - 1):
        before = table[:, k - 1] if k else 0.0
        table[:, k + 1] = (z * table[:, k] - np.sqrt(k) * before) / np.sqrt(k + 1)
    return table


def resolving_design(basis: Basis, points: int, dimension: int, degree: int) -> Design:
    """Return points that lie dense where functions of this degree are large, by a warped Sobol net.

    Polynomials grow towards the ends of the interval (arcsine density) or far out on the line (a normal law
    of variance 1 + degree / 3); waves are large everywhere alike.

    Raises:
        InvalidInput: More dimensions than the net has.
    """
    u = even_net(points, dimension)
    if basis == "legendre":
        return Design((1 - np.cos(np.pi * u)) / 2, np.prod(np.pi / 2 * np.sin(np.pi * u), axis=1))
    if basis == "fourier":
        return Design(u, np.ones(points))
    s = np.sqrt(1 + degree / 3)
    # Φ(z) must stay below 1 in float64.
    z = np.clip(s * ndtri(u), -8.0, 8.0)
    return Design(ndtr(z), np.prod(s * np.exp((1 / s**2 - 1) * z**2 / 2), axis=1))


def even_net(points: int, dimension: int) -> Float[np.ndarray, "point dimension"]:
    """Return points of a Sobol net in the middle of their cells: on a line, a regular grid if a power of 2.

    Raises:
        InvalidInput: More dimensions than the net has.
    """
    exponent = (points - 1).bit_length()
    return sobol_net(exponent, dimension)[:points] + 0.5 ** (exponent + 1)
