"""Squared error of each field relative to its own size."""

from typing import Literal

import numpy as np

from koopcast.metrics.averages import Weighting, case_mean, cell_weights, verified, weighted_mean
from koopcast.metrics.base import MetricSpec, Score, Verification


class RelativeMSESpec(MetricSpec):
    """Mean over samples and times of ‖f - t‖² / ‖t‖²; `relative_mse.median` is the median over samples of
    their means over time.

    A few samples that lost the truth dominate the mean; the median says what the usual one does.
    """

    kind: Literal["relative_mse"] = "relative_mse"
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "as in Singh, Borsoi, Erdogmus and Imbiriba 2024"

    def score(self, pair: Verification) -> Score:
        """Return the mean of Σ w (f - t)² / Σ w t² over fields that are not 0."""
        valid = verified(pair)
        truth = pair.truth.astype(np.float64).where(valid)
        weights = cell_weights(pair, self.weighting)
        size = weighted_mean(truth**2, weights, pair.space)
        error = weighted_mean((pair.forecast - truth) ** 2, weights, pair.space) / size.where(size > 0)
        value, pooled = case_mean(error)
        median = error.mean("time").median("sample")
        return Score(value, pooled, "1", components={"median": median})
