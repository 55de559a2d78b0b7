"""Anomaly correlation."""

from typing import Literal

import numpy as np
import xarray as xr

from koopcast.errors import InvalidInput
from koopcast.metrics.averages import (
    Average,
    Weighting,
    case_mean,
    cell_weights,
    pooled_mean,
    verified,
    weighted_mean,
)
from koopcast.metrics.base import MetricSpec, Score, Verification


class ACCSpec(MetricSpec):
    """Correlation between the anomalies of forecast and truth about the climatology."""

    kind: Literal["acc"] = "acc"
    average: Average = "time_mean"
    """`time_mean`: mean over samples and times of each field's pattern correlation; `pooled`: one correlation
    over all samples, times and cells."""
    centred: bool = False
    """Take the spatial mean out of each anomaly field first."""
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "Murphy and Epstein 1989; Wilks 2019, section 9.4"
    needs_climatology = True
    perfect = 1.0
    sense = "higher"

    def score(self, pair: Verification) -> Score:
        """Return ⟨f' t'⟩ / √(⟨f'²⟩ ⟨t'²⟩), with f' and t' the departures from the climatology."""
        if pair.climatology is None:
            raise InvalidInput("acc needs a climatology", "add a `train` part to the split of the dataset")
        valid, weights = verified(pair), cell_weights(pair, self.weighting)
        f = self._anomaly(pair.forecast, pair.climatology, valid, weights, pair.space)
        t = self._anomaly(pair.truth, pair.climatology, valid, weights, pair.space)
        products = (f * t, f**2, t**2)
        if self.average == "time_mean":
            ft, ff, tt = (weighted_mean(product, weights, pair.space) for product in products)
            value, pooled = case_mean(_correlation(ft, ff, tt))
            return Score(value, pooled, "1")
        means = [pooled_mean(product, weights) for product in products]
        value = _correlation(*(mean for mean, _ in means))
        return Score(value, float(_correlation(*(xr.DataArray(mean) for _, mean in means))), "1")

    def _anomaly(
        self,
        values: xr.DataArray,
        climatology: xr.DataArray,
        valid: xr.DataArray,
        weights: xr.DataArray,
        space: tuple[str, ...],
    ) -> xr.DataArray:
        anomaly = (values.astype(np.float64) - climatology).where(valid)
        return anomaly - weighted_mean(anomaly, weights, space) if self.centred else anomaly


def _correlation(ft: xr.DataArray, ff: xr.DataArray, tt: xr.DataArray) -> xr.DataArray:
    """Return the correlation; undefined (NaN, no weight) where the anomaly of the truth vanishes, 0 where f's
    does.
    """
    return (ft / (ff * tt).where(ff > 0, 1.0) ** 0.5).where(tt > 0)
