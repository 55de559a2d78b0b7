"""Relative L2 error."""

from typing import Literal

import numpy as np

from koopcast.metrics.averages import Weighting, case_mean, cell_weights, verified, weighted_mean
from koopcast.metrics.base import MetricSpec, Score, Verification


class RelativeL2Spec(MetricSpec):
    """Mean over the fields of ‖f - t‖ / ‖t‖, the measure of operator learning.

    A field is one verified record; of a map, all records that it returns for one input together.
    """

    kind: Literal["rel_l2"] = "rel_l2"
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "Li et al. 2021 (FNO)"

    def score(self, pair: Verification) -> Score:
        """Return the mean of √(Σ w (f - t)² / Σ w t²); a field that is zero throughout is left out."""
        valid = verified(pair)
        weights = cell_weights(pair, self.weighting)
        over = (*pair.space, *(("time",) if pair.is_joint else ()))
        squared = ((pair.forecast - pair.truth).astype(np.float64) ** 2).where(valid)
        size = (pair.truth.astype(np.float64) ** 2).where(valid)
        error, norm = (weighted_mean(values, weights, over) for values in (squared, size))
        value, pooled = case_mean((error / norm.where(norm > 0)) ** 0.5)
        return Score(value, pooled, "1")
