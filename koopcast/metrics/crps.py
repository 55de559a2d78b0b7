"""Continuous ranked probability score."""

from typing import Literal

import numpy as np
import xarray as xr

from koopcast.metrics.averages import Weighting, cell_weights, pooled_mean, verified
from koopcast.metrics.base import MetricSpec, Score, Verification


class CRPSSpec(MetricSpec):
    """Continuous ranked probability score; the mean absolute error of a forecast without an ensemble."""

    kind: Literal["crps"] = "crps"
    fair: bool = True
    """Divide the pair term by N (N - 1): the expectation is then that of an infinite ensemble. Else by N²."""
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "Gneiting and Raftery 2007; fair form: Ferro 2014; O(N log N) by sorting"

    def score(self, pair: Verification) -> Score:
        """Return E|X - y| - ½ E|X - X'| over the members X, averaged."""
        valid = verified(pair)
        truth = pair.truth.astype(np.float64)
        if pair.members is None:
            values = abs(pair.forecast - truth)
        else:
            members = pair.members.astype(np.float64)
            values = abs(members - truth).mean("member") - half_pair_distance(members, self.fair)
        value, pooled = pooled_mean(values.where(valid), cell_weights(pair, self.weighting))
        return Score(value, pooled, pair.units)


def half_pair_distance(members: xr.DataArray, fair: bool) -> xr.DataArray:
    """Return ½ E|X - X'| = Σᵢ (2i - N - 1) x₍ᵢ₎ / D with x₍₁₎ ≤ … ≤ x₍N₎ and D = N (N - 1), or N² if not
    fair.
    """
    N = members.sizes["member"]
    if N == 1:
        return xr.zeros_like(members.isel(member=0, drop=True))
    ordered = members.copy(data=np.sort(members.values, axis=members.get_axis_num("member")))
    coefficient = xr.DataArray(2.0 * np.arange(1, N + 1) - N - 1, dims="member")
    total: xr.DataArray = xr.dot(ordered.drop_vars("member", errors="ignore"), coefficient, dim="member")
    return total / (N * (N - 1) if fair else N * N)
