"""Logarithmic score of the Gaussian that an ensemble stands for."""

from typing import Literal

import numpy as np
import xarray as xr

from koopcast.metrics.averages import Weighting, cell_weights, members_of, pooled_mean, verified
from koopcast.metrics.base import MetricSpec, Score, Verification


class LogScoreSpec(MetricSpec):
    """Mean of ½ log 2πσ² + (y - μ)² / 2σ² with mean μ and variance σ² of the members, cell by cell.

    A difference of 0.1 is one tenth of a nat a cell. It depends on the units of the variable.
    """

    kind: Literal["log_score"] = "log_score"
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "Good 1952; Gneiting and Raftery 2007, section 4.1; of the Gaussian with the sampled moments"
    needs_members = True
    perfect = -np.inf

    def score(self, pair: Verification) -> Score:
        """Return the mean; infinite where the truth lies off an ensemble without spread."""
        valid, members = verified(pair), members_of(pair, "log_score")
        variance = members.var("member", ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = (members.mean("member") - pair.truth) ** 2 / variance
            values = 0.5 * (xr.ufuncs.log(2 * np.pi * variance) + squares)
        value, pooled = pooled_mean(values.where(valid), cell_weights(pair, self.weighting))
        return Score(value, pooled, "1")
