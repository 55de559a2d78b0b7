"""Rank of the truth within the ensemble."""

from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt

from koopcast.metrics.averages import members_of, verified
from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.rng import numpy_generator


class RankHistogramSpec(MetricSpec):
    """How often the truth takes each rank among the members; the value is χ² per degree of freedom (1: flat).

    The components `slope` and `curvature` are projections of the histogram with mean 0 and variance 1 for an
    exchangeable ensemble of independent cases: a positive slope says that the ensemble is too low, a positive
    curvature (a U) that it is too narrow.
    """

    kind: Literal["rank_histogram"] = "rank_histogram"
    every_record: PositiveInt = 1
    """Count every so many verifying records only: cases that are near in time are not independent."""
    every_cell: PositiveInt = 1
    """Count every so many cells of each space axis only."""
    seed: NonNegativeInt = 0
    """Of the draw that breaks ties."""

    reference = "Hamill 2001; ratio: Candille and Talagrand 2005; components: Jolliffe and Primo 2008"
    needs_members = True
    perfect = 1.0
    sense = "target"

    def score(self, pair: Verification) -> Score:
        """Return Σ (n_r - e)² / e / N over the N + 1 ranks r, with e the expected count."""
        verified(pair)
        keep = {"time": slice(None, None, self.every_record)}
        keep |= {axis: slice(None, None, self.every_cell) for axis in pair.space}
        members, truth = (
            members_of(pair, "rank_histogram").isel(keep),
            pair.truth.astype(np.float64).isel(keep),
        )
        leads = truth.coords["lead"]
        counts = np.stack(
            [self._counts(members.sel(lead=lead), truth.sel(lead=lead)) for lead in leads.values]
        )
        ratio, slope, curvature = (
            xr.DataArray(list(values), dims="lead", coords={"lead": leads})
            for values in zip(*(_flatness(row) for row in counts), strict=True)
        )
        frequencies = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        curve = xr.DataArray(
            frequencies,
            dims=("lead", "rank"),
            coords={"lead": leads, "rank": np.arange(counts.shape[1])},
            attrs={"units": "1", "long_name": "share of cases"},
        )
        pooled = _flatness(counts.sum(axis=0))[0]
        return Score(ratio, pooled, "1", curve, {"slope": slope, "curvature": curvature})

    def _counts(self, members: xr.DataArray, truth: xr.DataArray) -> Int[np.ndarray, " rank"]:
        """Return how often each rank occurs; a truth equal to some members takes a random place among
        them.
        """
        below = (members < truth).sum("member")
        ties = (members == truth).sum("member")
        drawn = numpy_generator(self.seed, "rank_histogram").integers(0, ties.values + 1)
        ranks = (below + drawn).values[np.isfinite(truth.values)]
        return np.bincount(ranks, minlength=members.sizes["member"] + 1)


def _flatness(counts: Int[np.ndarray, " rank"]) -> tuple[float, float, float]:
    """Return χ² per degree of freedom, and the linear and quadratic contrasts of the standardised
    residuals.
    """
    if counts.sum() == 0:
        return np.nan, np.nan, np.nan
    expected = counts.sum() / counts.size
    residual = (counts - expected) / np.sqrt(expected)
    linear, quadratic = _contrasts(counts.size)
    return (
        float(residual @ residual / (counts.size - 1)),
        float(linear @ residual),
        float(quadratic @ residual),
    )


def _contrasts(size: int) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, " rank"]]:
    """Return the orthonormal polynomials of degree 1 and 2 over the ranks."""
    position = np.linspace(-1.0, 1.0, size)
    Q, R = np.linalg.qr(np.stack([position**degree for degree in range(3)], axis=1))
    Q *= np.sign(np.diag(R))
    return Q[:, 1], Q[:, 2]
