"""Draws from the projection determinantal point process of an orthonormal table."""

import numpy as np
from jaxtyping import Float, Int

from koopcast.numerics.leverage import leverage

SURPLUS = 2
"""Proposals per point and round, in units of how many are needed on average."""
MOST_PROPOSALS = 64
BLOCK = 2**22
"""Numbers held by the bases of the draws that are made at once."""


class Projection:
    """The process with kernel U Uᵀ: P(S) = det(U_S)² for sets of m rows, m the number of columns.

    The chain rule draws the k-th row with probability ‖P uᵢ‖² / (m - k + 1), P the projection off the rows
    before it. It is met by rejection: rows are proposed with probability τᵢ / m, τᵢ = ‖uᵢ‖², and row i is
    taken with probability ‖P uᵢ‖² / τᵢ. The law is the same, m ln m proposals of O(m²) do, and the number of
    rows does not enter.
    """

    def __init__(self, U: Float[np.ndarray, "row column"]) -> None:
        self.tau = leverage(U)
        self._U = U
        self._cumulative = np.cumsum(self.tau)
        self._unit = U / np.sqrt(np.where(self.tau > 0, self.tau, 1.0))[:, None]

    def marginal(self, generator: np.random.Generator, *shape: int) -> Int[np.ndarray, "*shape"]:
        """Draw rows independently with probability τᵢ / m."""
        total = self._cumulative[-1]
        found = np.searchsorted(self._cumulative, generator.random(shape) * total, side="right")
        return np.asarray(np.minimum(found, len(self._cumulative) - 1))

    def draw(self, draws: int, generator: np.random.Generator) -> Int[np.ndarray, "draws column"]:
        """Return independent draws of m distinct rows each, in the order of the chain rule."""
        m = self._U.shape[1]
        size = max(1, BLOCK // m**2)
        return np.concatenate(
            [self._draw(min(size, draws - start), generator) for start in range(0, draws, size)]
        )

    def _draw(self, draws: int, generator: np.random.Generator) -> Int[np.ndarray, "draws column"]:
        m = self._U.shape[1]
        E = np.zeros((draws, m, m))
        rows = np.empty((draws, m), dtype=np.int64)
        for k in range(m):
            rows[:, k] = self._next(E[:, :k], generator)
            v = unexplained(E[:, :k], self._unit[rows[:, k], None])
            # Twice is enough: what rounding left of the directions before is removed again.
            v = unexplained(E[:, :k], v / np.linalg.norm(v, axis=-1, keepdims=True))
            E[:, k] = (v / np.linalg.norm(v, axis=-1, keepdims=True))[:, 0]
        return rows

    def _next(
        self, E: Float[np.ndarray, "draws known column"], generator: np.random.Generator
    ) -> Int[np.ndarray, " draws"]:
        draws, k, m = E.shape
        proposals = min(MOST_PROPOSALS, SURPLUS * -(-m // (m - k))) if k else 1
        chosen = np.full(draws, -1)
        waiting = np.arange(draws)
        while len(waiting):
            rows = self.marginal(generator, len(waiting), proposals)
            rest = unexplained(E[waiting], self._unit[rows])
            taken = generator.random(rows.shape) < np.einsum("bij,bij->bi", rest, rest)
            first = taken.argmax(axis=1)
            found = taken.any(axis=1) if k else np.ones(len(waiting), dtype=bool)
            chosen[waiting[found]] = rows[found, first[found]]
            waiting = waiting[~found]
        return chosen


def unexplained(
    E: Float[np.ndarray, "draws known column"], v: Float[np.ndarray, "draws row column"]
) -> Float[np.ndarray, "draws row column"]:
    """Return v - v Eᵀ E: what is left of rows once orthonormal directions are projected off."""
    return np.asarray(v - (v @ E.swapaxes(-1, -2)) @ E)
