"""Subsets of rows that keep ‖A x‖ₚ for every x."""

from typing import Annotated, Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat

from koopcast.errors import InvalidInput
from koopcast.numerics.leverage import extended, leverage, lewis_weights, orthonormal, sensitivities
from koopcast.samplers.base import RowDraw, Rows, SamplerSpec

Score: TypeAlias = Literal[
    "auto", "sensitivity", "root_leverage", "leverage_plus_sensitivity", "lewis", "leverage", "uniform"
]


class LpSpec(SamplerSpec):
    """Rows kept in proportion to a score, so that Σ w |a x|ᵖ over them is close to ‖A x‖ₚᵖ for all x."""

    kind: Literal["lp"] = "lp"
    p: Annotated[float, Field(ge=1)] = 2.0
    """Exponent of the fit that the subset is for: 1 robust, 2 least squares, above 2 bound to the peaks."""
    score: Score = "auto"
    """What rates are proportional to; auto: root_leverage below p = 2, leverage at 2, above
    leverage_plus_sensitivity."""
    fill: bool = True
    """Raise the other rates where clipping at 1 leaves fewer rows, in mean, than asked for; the paper does
    not."""
    size: Literal["expected", "exact"] = "expected"
    """Keep each row independently, so that the count is met in mean, or (systematic sampling with the same
    rates, rows in random order) exactly."""
    ridge: NonNegativeFloat = 0.0
    """Multiple of the mean eigenvalue of AᵀA added to all of them; needed where columns depend on one
    another."""

    reference = (
        "Woodruff and Yasuda 2023, Sharper bounds for l_p sensitivity sampling; "
        "rates that would exceed 1 are clipped and the others raised to keep the expected count"
    )
    lays_points = False

    def drawing(self, features: Float[np.ndarray, "candidate feature"]) -> RowDraw:
        """Return draws with rates from the scores of a table, computed here once.

        Raises:
            NotFinite: The features hold NaN or infinity.
            DataError: The features depend on one another and `ridge` is 0.
        """
        scores, figures = self.scores(features)
        N, m = features.shape

        def draw(count: int, generator: np.random.Generator) -> Rows:
            if fault := self.faulty_count(count, m):
                raise InvalidInput(fault)
            if count > N:
                raise InvalidInput(f"count: {count} of {N} rows", f"take at most {N}")
            rates = filled_rates(scores, count) if self.fill else np.minimum(1, count * scores / scores.sum())
            kept = systematic(rates, generator) if self.size == "exact" else generator.random(N) < rates
            index = np.flatnonzero(kept)
            return Rows(index, count / N / rates[index], {**figures, "expected_count": float(rates.sum())})

        return draw

    def scores(
        self, features: Float[np.ndarray, "candidate feature"]
    ) -> tuple[Float[np.ndarray, " candidate"], dict[str, float]]:
        """Return the score of every row, and the total sensitivity, bounded above, where it enters."""
        if self.score == "uniform":
            return np.ones(len(features)), {}
        # The rows that carry the ridge have scores of their own, which are of no use.
        U, N = orthonormal(extended(features, self.ridge)), len(features)
        score, p = self._chosen(), self.p
        if score == "lewis":
            return lewis_weights(U, p)[:N], {}
        tau = leverage(U)[:N]
        if score in ("leverage", "root_leverage"):
            return (tau if score == "leverage" else tau ** (p / 2)), {}
        sigma = sensitivities(U, p)[1][:N]
        figures = {"total_sensitivity": float(sigma.sum())}
        return (sigma if score == "sensitivity" else tau + sigma), figures

    def _chosen(self) -> Score:
        if self.score != "auto":
            return self.score
        if self.p == 2:
            return "leverage"
        return "root_leverage" if self.p < 2 else "leverage_plus_sensitivity"

    def faulty_count(self, count: int, num_features: int | None = None) -> str | None:
        """Refuse fewer rows than features."""
        if num_features is None or count >= num_features:
            return None
        return f"{count} rows cannot keep norms of {num_features} features; take {num_features} or more"


def filled_rates(scores: Float[np.ndarray, " row"], count: int) -> Float[np.ndarray, " row"]:
    """Return q = min(1, c s) with Σ q = count; 1 wherever s > 0 if fewer rows than that have a score.

    With the k largest scores clipped, c = (count - k) / (sum of the others); k is the least for which the
    next score stays within 1.
    """
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    rest = np.cumsum(descending[::-1])[::-1]
    k = np.arange(len(scores))
    fits = (count - k) * descending <= rest
    first = int(np.argmax(fits)) if fits.any() else len(scores)
    if first == len(scores) or rest[first] <= 0:
        return (scores > 0).astype(np.float64)
    return np.asarray(np.minimum(1.0, (count - first) / rest[first] * scores))


def systematic(rates: Float[np.ndarray, " row"], generator: np.random.Generator) -> np.ndarray:
    """Keep rows with the given rates, ⌊Σ q⌋ or ⌈Σ q⌉ of them: those whose stretch of [0, Σ q] holds u + j.

    The stretches are laid out in random order, and u is uniform.
    """
    order = generator.permutation(len(rates))
    ends = np.floor(np.concatenate(([0.0], np.cumsum(rates[order]).round(9))) - generator.random())
    kept = np.zeros(len(rates), dtype=bool)
    kept[order] = np.diff(ends) > 0
    return kept
