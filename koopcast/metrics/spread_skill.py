"""Spread of an ensemble against the error of its mean."""

from typing import Literal

import numpy as np

from koopcast.metrics.averages import Weighting, cell_weights, members_of, pooled_mean, verified
from koopcast.metrics.base import MetricSpec, Score, Verification


class SpreadSkillSpec(MetricSpec):
    """Spread of the ensemble over the error of its mean: 1 is calibrated, below 1 over-confident."""

    kind: Literal["spread_skill"] = "spread_skill"
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "Fortin et al. 2014"
    needs_members = True
    perfect = 1.0
    sense = "target"

    def score(self, pair: Verification) -> Score:
        """Return √((N + 1) / N · mean variance) / RMSE of the mean, with the variance over N - 1."""
        valid, weights = verified(pair), cell_weights(pair, self.weighting)
        members = members_of(pair, "spread_skill")
        N = members.sizes["member"]
        squared_error = ((members.mean("member") - pair.truth) ** 2).where(valid)
        variance = members.var("member", ddof=1).where(valid)
        error, pooled_error = pooled_mean(squared_error, weights)
        spread, pooled_spread = pooled_mean(variance, weights)
        factor = (N + 1) / N
        with np.errstate(divide="ignore", invalid="ignore"):
            pooled = float(np.sqrt(factor * np.float64(pooled_spread) / np.float64(pooled_error)))
            return Score((factor * spread / error) ** 0.5, pooled, "1")
