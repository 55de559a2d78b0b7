"""Means over the cells that are verified, shared by the metrics."""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from koopcast.errors import Diverged, EmptySelection, InvalidInput
from koopcast.metrics.base import Verification
from koopcast.numerics.batch_means import mean_and_half_width

Weighting = Literal["area", "uniform"]
Average = Literal["pooled", "time_mean"]


def verified(pair: Verification) -> xr.DataArray:
    """Return where the truth is known, after proof that the subject is finite there.

    Raises:
        EmptySelection: The truth holds no valid cell.
        Diverged: The subject is not finite where the truth is.
    """
    valid = finite(pair.truth)
    if not bool(valid.any()):
        raise EmptySelection(
            f"the truth of '{pair.truth.name}' holds no valid value to verify against",
            "check the mask and the test part",
        )
    for subject in (pair.forecast, pair.members):
        faulty = 0 if subject is None else int((valid & ~finite(subject)).sum())
        if faulty:
            raise Diverged(
                f"the forecast of '{pair.truth.name}' is not finite in {faulty} values where the truth is",
                "shorten the leads or stabilise the model",
            )
    return valid


def finite(values: xr.DataArray) -> xr.DataArray:
    """Return where values are neither NaN nor infinite."""
    return abs(values) < np.inf


def members_of(pair: Verification, metric: str) -> xr.DataArray:
    """Return the ensemble in float64.

    Raises:
        InvalidInput: The subject has no ensemble of two members or more.
    """
    if pair.members is None or pair.members.sizes["member"] < 2:
        raise InvalidInput(
            f"{metric} needs an ensemble of two members or more", "keep `members` in the analysis"
        )
    return pair.members.astype(np.float64)


def cell_weights(pair: Verification, weighting: Weighting) -> xr.DataArray:
    """Return the weight of each cell: its area, or 1."""
    if weighting == "area" and pair.area is not None:
        return pair.area.fillna(0.0).astype(np.float64)
    return xr.DataArray(1.0)


def weighted_mean(values: xr.DataArray, weights: xr.DataArray, dims: Sequence[Hashable]) -> xr.DataArray:
    """Return Σ w x / Σ w over `dims`; NaN in `values` carries no weight; NaN where nothing is left."""
    valid = values.notnull()
    total = (valid * weights).sum(dims)
    return (values.fillna(0.0) * weights).sum(dims) / total.where(total > 0)


def case_mean(values: xr.DataArray) -> tuple[xr.DataArray, float]:
    """Return the plain mean over samples and times per lead, and over all leads."""
    return values.mean([dim for dim in values.dims if dim != "lead"]), float(values.mean())


def case_median(values: xr.DataArray) -> tuple[xr.DataArray, float]:
    """Return the median over samples of the mean over their times per lead, and over all leads."""
    over = [dim for dim in values.dims if dim not in ("lead", "sample")]
    each = values.mean(over)
    return each.median("sample"), float(each.mean("lead").median())


def half_width(values: xr.DataArray) -> xr.DataArray:
    """Return per lead the half-width of the 95 % interval of the mean over samples and times, in which times
    are correlated and samples are not.
    """
    leads = values["lead"]
    ordered = values.transpose("lead", "sample", "time").values.astype(np.float64)
    found = [
        mean_and_half_width([series[np.isfinite(series)] for series in of_lead])[1] for of_lead in ordered
    ]
    return xr.DataArray(found, dims="lead", coords={"lead": leads})


def pooled_mean(values: xr.DataArray, weights: xr.DataArray) -> tuple[xr.DataArray, float]:
    """Return the weighted mean over samples, times and cells per lead, and over all leads."""
    dims = [dim for dim in values.dims if dim != "lead"]
    return weighted_mean(values, weights, dims), float(weighted_mean(values, weights, values.dims))
