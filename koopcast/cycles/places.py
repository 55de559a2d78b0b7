"""Where reports stand on a grid: the cells of each, and the ground below it."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from koopcast.cycles.heights import Heights
from koopcast.cycles.reports import Reason, reject
from koopcast.grids import Axis
from koopcast.numerics.geometry import Domain, period
from koopcast.numerics.interpolation import stencil

Position = Literal["nearest", "bilinear"]


class Places:
    """Finds the cells of each report.

    A report beyond the last point of an axis, by half an interval at most, is seen at that point.

    Args:
        domain: The grid.
        valid: Which of its points hold data.
        errors: Its variables, in order, with the least error of a report that is believed: beside one of next
            to none, an analysis cannot weigh the others.
        position: Whether a report is of its nearest cell, or of those around it, weighted linearly along each
            axis; masked ones have no weight then.
        heights: The ground of the model, where reports are moved to it.
    """

    def __init__(
        self,
        domain: Domain,
        valid: Tensor,
        errors: Mapping[str, float],
        position: Position = "nearest",
        heights: Heights | None = None,
    ) -> None:
        self._domain, self._valid, self._variables = domain, valid.numpy().ravel(), list(errors)
        self._errors = errors
        self._position, self._heights = position, heights

    def place(self, reports: pd.DataFrame) -> pd.DataFrame:
        """Return the reports with `cell`, the nearest (channel fastest, -1 for those that stand nowhere), and
        `delivered`, the value before it is moved to the ground of the model, rejecting the ones outside of
        the grid, those whose nearest cell holds no data, and those of an error that is too small.
        """
        least = reports["variable"].map(self._errors).to_numpy(dtype=np.float64)
        reject(reports, Reason.BAD_ERROR, (reports["error"] < least).to_numpy())
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
        reports = reports.assign(cell=np.where(stands, cell, -1), delivered=reports["value"])
        if self._heights is None:
            return reports
        ground = np.full(len(reports), np.nan)
        points, weights = self.around(reports[stands])
        below = self._heights.ground[points // len(self._variables)]
        ground[stands] = (below.nan_to_num() * weights).sum(dim=1).numpy()
        return self._heights.corrected(reports, ground)

    @property
    def is_of_cells(self) -> bool:
        """Whether a report is the value of a cell itself."""
        return self._position == "nearest"

    def around(
        self, reports: pd.DataFrame
    ) -> tuple[Int[Tensor, "report corner"], Float[Tensor, "report corner"]]:
        """Return the cells that reports which stand somewhere are of, and their weights, of sum 1."""
        cell = torch.from_numpy(reports["cell"].to_numpy(dtype=np.int64, copy=True))
        if self.is_of_cells:
            return cell[:, None], torch.ones(len(cell), 1, dtype=torch.float64)
        names = [axis.name for axis in self._domain.axes]
        corners = stencil(
            self._domain, torch.from_numpy(reports[names].to_numpy(dtype=np.float64, copy=True))
        )
        weights = corners.weights * torch.from_numpy(self._valid)[corners.points]
        channel = (cell % len(self._variables))[:, None]
        weights = weights / weights.sum(dim=1, keepdim=True)
        return corners.points * len(self._variables) + channel, weights


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
