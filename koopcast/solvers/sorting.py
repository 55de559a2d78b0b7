"""Orders in which neighbours are alike."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

GREEDY_LIMIT = 2**26
"""Numbers that a greedy sort may hold: systems times the larger of systems and features."""


def greedy(features: Float[np.ndarray, "system feature"], first: int = 0) -> Int[np.ndarray, " system"]:
    """Return a chain from `first` on, in which each link is the nearest of what is left."""
    count = len(features)
    # Differences of centred features lose the fewest digits in |a - b|² = |a|² + |b|² - 2 a·b.
    centred = features - features.mean(axis=0)
    squares = np.einsum("sf,sf->s", centred, centred)
    distances = squares[:, None] + squares[None, :] - 2 * (centred @ centred.T)
    np.fill_diagonal(distances, np.inf)
    order = np.empty(count, dtype=np.int64)
    for place in range(count):
        order[place] = first
        distances[:, first] = np.inf
        first = int(np.argmin(distances[first]))
    assert np.array_equal(np.sort(order), np.arange(count)), "an order is a permutation"
    return order


def fft_gray(
    features: Float[np.ndarray, "system feature"], grid: tuple[int, ...] | None, freq: int, dim: int
) -> Int[np.ndarray, " system"]:
    """Return an order by cells of the leading features, neighbouring cells side by side.

    Fields are reduced to their `freq` lowest frequencies an axis, then to `dim` principal components; each
    is cut at the middle of its range. The cells are visited in reflected Gray code, so that consecutive
    numbers differ in one bit; inside a cell the order is greedy, from the end of the cell before.
    """
    reduced = principal_components(features if grid is None else low_frequencies(features, grid, freq), dim)
    low, high = reduced.min(axis=0), reduced.max(axis=0)
    bits = (reduced - low > (high - low) / 2).astype(np.int64)
    ranks = gray_rank(bits)
    order: list[int] = []
    for rank in np.unique(ranks):
        cell = np.flatnonzero(ranks == rank)
        gaps = np.linalg.norm(reduced[cell] - reduced[order[-1]], axis=1) if order else np.zeros(len(cell))
        order.extend(cell[greedy(reduced[cell], int(np.argmin(gaps)))])
    return np.array(order, dtype=np.int64)


def low_frequencies(
    features: Float[np.ndarray, "system feature"], grid: tuple[int, ...], freq: int
) -> Float[np.ndarray, "system coefficient"]:
    """Return real and imaginary parts of the central `freq` coefficients an axis of the shifted spectrum."""
    starts = [size // 2 - min(freq, size) // 2 for size in grid]
    centre = tuple(slice(start, start + min(freq, size)) for start, size in zip(starts, grid, strict=True))
    spectra = np.stack([np.fft.fftshift(np.fft.fftn(row.reshape(grid)))[centre].ravel() for row in features])
    return np.hstack([spectra.real, spectra.imag])


def principal_components(
    features: Float[np.ndarray, "system feature"], dim: int
) -> Float[np.ndarray, "system component"]:
    """Return the scores on the leading `dim` principal directions, their signs fixed."""
    U, singular, directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    scores: np.ndarray = (U * (singular * signs))[:, :dim]
    return scores


def gray_rank(bits: Int[np.ndarray, "system bit"]) -> Int[np.ndarray, " system"]:
    """Return where each code stands in the reflected Gray code; the first bit changes least often."""
    binary = np.cumsum(bits, axis=1) % 2
    rank: np.ndarray = binary @ (1 << np.arange(bits.shape[1])[::-1])
    return rank


def stacked(features: Sequence[Float[np.ndarray, " feature"]]) -> Float[np.ndarray, "system feature"]:
    """Return features as rows."""
    return np.stack([np.asarray(row, dtype=np.float64) for row in features])
