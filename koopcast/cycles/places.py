"""The cells of a grid that reports stand on."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int

from koopcast.cycles.reports import Reason, reject
from koopcast.grids import Axis
from koopcast.numerics.geometry import Domain, period


class Places:
    """Finds the nearest cell of each report.

    Args:
        domain: The grid.
        valid: Which of its points hold data.
        variables: Its variables, in order.
    """

    def __init__(self, domain: Domain, valid: torch.Tensor, variables: list[str]) -> None:
        self._domain, self._valid, self._variables = domain, valid.numpy().ravel(), variables

    def place(self, reports: pd.DataFrame) -> pd.DataFrame:
        """Return the reports with `cell` (channel fastest, -1 for those that stand nowhere), rejecting the
        ones outside of the grid and on cells without data.
        """
        point = np.zeros(len(reports), dtype=np.int64)
        inside = np.ones(len(reports), dtype=bool)
        for axis, held in zip(self._domain.axes, self._domain.coordinates, strict=True):
            index, near = nearest(axis, held.numpy(), reports[axis.name].to_numpy(dtype=np.float64))
            point = point * axis.size + index
            inside &= near
        reject(reports, Reason.OUTSIDE_GRID, ~inside)
        reject(reports, Reason.MASKED_CELL, inside & ~self._valid[np.where(inside, point, 0)])
        channel = reports["variable"].map({name: at for at, name in enumerate(self._variables)})
        cell = point * len(self._variables) + channel.fillna(0).to_numpy(dtype=np.int64)
        stands = (reports["reason"] == Reason.USED).to_numpy()
        return reports.assign(cell=np.where(stands, cell, -1))


def nearest(
    axis: Axis, held: np.ndarray, values: np.ndarray
) -> tuple[Int[np.ndarray, " report"], Bool[np.ndarray, " report"]]:
    """Return the nearest grid point of each value along an axis, and whether it is within half an interval
    of the grid (the widest one).
    """
    order = np.argsort(held)
    ordered, length = held[order], period(axis)
    widest = float(np.diff(ordered).max()) if axis.size > 1 else np.inf
    if length is not None:
        values = ordered[0] + np.mod(values - ordered[0], length)
        ordered = np.append(ordered, ordered[0] + length)
        order = np.append(order, order[0])
    known = np.isfinite(values)
    place = np.searchsorted(ordered, np.where(known, values, ordered[0]))
    above, below = np.clip(place, 0, len(ordered) - 1), np.clip(place - 1, 0, len(ordered) - 1)
    with np.errstate(invalid="ignore"):
        is_above = np.abs(ordered[above] - values) < np.abs(values - ordered[below])
        chosen = np.where(is_above, above, below)
        gap = np.abs(ordered[chosen] - values)
        return order[chosen], known & (gap <= widest / 2 * (1 + 1e-9))
