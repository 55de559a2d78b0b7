"""Sites chosen one by one, each where those before it know least."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt

from koopcast.errors import InvalidInput
from koopcast.numerics import bases
from koopcast.numerics.leverage import orthonormal, pivoted_rows
from koopcast.samplers.base import Points, RowDraw, Rows, SamplerSpec


class GreedySpec(SamplerSpec):
    """Rows by QR with column pivoting, then those that raise det G most; nothing is random, weights are 1."""

    kind: Literal["greedy"] = "greedy"
    basis: bases.Basis = "legendre"
    """Features of points of the cube: polynomials for uniform or for normal (`hermite`) parameters, waves."""
    degree: NonNegativeInt | None = None
    """Total degree of the features of points; null: as many functions as points, low degrees first."""
    candidates: PositiveInt = 20_000
    """Places among which points of the cube are chosen."""

    reference = (
        "Manohar et al. 2018, Data-driven sparse sensor placement; with more rows than features each further "
        "row is the D-optimal one"
    )

    def drawing(self, features: Float[np.ndarray, "candidate feature"]) -> RowDraw:
        """Return the choice; it is the same every time.

        Raises:
            NotFinite: The features hold NaN or infinity.
            DataError: The features depend on one another.
        """
        orthonormal(features)
        pivots = pivoted_rows(features, features.shape[1])

        def draw(count: int, generator: np.random.Generator) -> Rows:
            if count > len(features):
                raise InvalidInput(f"count: {count} of {len(features)} rows", f"take at most {len(features)}")
            index = pivots[:count] if count <= len(pivots) else oversampled(features, pivots, count)
            return Rows(index, np.ones(count))

        return draw

    def points(self, count: int, dimension: int, generator: np.random.Generator) -> Points:
        """Choose points among candidates; with as many functions as points these are nearly Fekete points.

        Raises:
            InvalidInput: More points or features than candidates.
        """
        m = self.num_functions(count, dimension)
        if max(m, count) > self.candidates:
            raise InvalidInput(
                f"greedy: {count} points and {m} features, but {self.candidates} candidates",
                "lower `degree` or raise `candidates`",
            )
        degree = int(bases.degrees(self.basis, m, dimension).max())
        places = bases.resolving_design(self.basis, self.candidates, dimension, degree).points
        index = self.rows(bases.evaluate(self.basis, places, m), count, generator).index
        return Points(places[index], np.ones(count))

    def num_functions(self, count: int, dimension: int) -> int:
        """Return the number of functions up to `degree`."""
        return count if self.degree is None else bases.num_functions(self.basis, self.degree, dimension)


def oversampled(
    A: Float[np.ndarray, "row column"], start: Int[np.ndarray, " known"], count: int
) -> Int[np.ndarray, " count"]:
    """Return `start` and further distinct rows, each the one that raises det(A_Sᵀ A_S) most.

    det grows by 1 + lᵢ, lᵢ = aᵢᵀ G⁻¹ aᵢ; with row j taken, G⁻¹ loses g gᵀ / (1 + lⱼ), g = G⁻¹ aⱼ.
    """
    # An equal basis of the columns, in which the inverse is well conditioned, leaves all ratios as they are.
    A = orthonormal(A)
    inverse = np.linalg.inv(A[start].T @ A[start])
    score = np.einsum("ij,ij->i", A @ inverse, A)
    chosen = list(start)
    score[chosen] = -np.inf
    while len(chosen) < count:
        best = int(score.argmax())
        g = inverse @ A[best]
        gain = 1 + A[best] @ g
        inverse -= np.outer(g, g) / gain
        score -= (A @ g) ** 2 / gain
        score[best] = -np.inf
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)
