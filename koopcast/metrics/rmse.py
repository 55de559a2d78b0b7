"""Root-mean-square error."""

from typing import Literal

import numpy as np

from koopcast.metrics.averages import (
    Average,
    Weighting,
    case_mean,
    case_median,
    cell_weights,
    half_width,
    pooled_mean,
    verified,
    weighted_mean,
)
from koopcast.metrics.base import MetricSpec, Score, Verification


class RMSESpec(MetricSpec):
    """Root-mean-square error, of the mean where the subject is an ensemble."""

    kind: Literal["rmse"] = "rmse"
    average: Literal[Average, "median"] = "pooled"
    """`pooled`: root of the mean over all samples, times and cells; `time_mean`: mean over samples and times
    of each field's spatial RMS, the convention of twin experiments; `median`: median over samples of their
    time means, so that one experiment that lost the truth does not decide. Of `time_mean` the component
    `half_width` is that of the 95 % interval by batch means, which know autocorrelation (NaN where there are
    few times)."""
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "Wilks 2019, section 9.3; time mean: Sakov and Oke 2008"

    def score(self, pair: Verification) -> Score:
        """Return √(Σ w (f - t)² / Σ w)."""
        squared = ((pair.forecast - pair.truth).astype(np.float64) ** 2).where(verified(pair))
        weights = cell_weights(pair, self.weighting)
        if self.average == "median":
            value, pooled = case_median(weighted_mean(squared, weights, pair.space) ** 0.5)
            return Score(value, pooled, pair.units)
        if self.average == "time_mean":
            fields = weighted_mean(squared, weights, pair.space) ** 0.5
            value, pooled = case_mean(fields)
            known = half_width(fields)
            parts = {"half_width": known} if bool(known.notnull().any()) else {}
            return Score(value, pooled, pair.units, components=parts)
        value, pooled = pooled_mean(squared, weights)
        return Score(value**0.5, pooled**0.5, pair.units)
