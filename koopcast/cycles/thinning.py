"""One report for several on one cell at one record."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from koopcast.cycles.feed import Thinning
from koopcast.cycles.reports import Reason
from koopcast.grids import Axis
from koopcast.numerics.geometry import period


def thinned(
    reports: pd.DataFrame,
    record: Int[np.ndarray, " report"],
    thinning: Thinning,
    axes: Sequence[Axis] = (),
) -> pd.DataFrame:
    """Return the reports with one used for each cell and record: the first, or one with their mean, each
    weighted by one over its error variance, and the error of that mean. It stands at their mean place.
    """
    if thinning == "none":
        return reports
    rows = np.flatnonzero(reports["reason"].to_numpy() == Reason.USED)
    key = reports["cell"].to_numpy()[rows] * (record.max(initial=0) + 1) + record[rows]
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    reports = reports.copy()
    reason = reports["reason"].to_numpy(copy=True)
    reason[np.delete(rows, first)] = Reason.THINNED
    reports["reason"] = reason
    if thinning == "mean":
        weight = reports["error"].to_numpy()[rows] ** -2
        total = np.bincount(group, weight)
        turns = {"value": None, **{axis.name: period(axis) for axis in axes}}
        for name, turn in turns.items():
            column = reports[name].to_numpy(copy=True)
            start = column[rows[first]]
            gap = column[rows] - start[group]
            if turn is not None:
                gap = (gap + turn / 2) % turn - turn / 2
            column[rows[first]] = start + np.bincount(group, weight * gap) / total
            reports[name] = column
        errors = reports["error"].to_numpy(copy=True)
        errors[rows[first]] = total**-0.5
        reports["error"] = errors
    return reports
