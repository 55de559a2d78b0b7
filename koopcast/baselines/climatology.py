"""Climatology: the mean of the past, by time of year where there is one."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from koopcast.baselines.base import BaselineSpec
from koopcast.fields import FieldData
from koopcast.grids import TimeAxis

BLOCK = 64
"""Records read at once while means are gathered."""
DAYS_BEFORE_MONTH = np.array([0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335])
"""Of a leap year, so that every date has one place in all years."""
ENOUGH = 0.9
"""Share of the times of year that the training part must hold for a seasonal mean."""


class ClimatologySpec(BaselineSpec):
    """The mean of the `train` part, by time of year where the fields have a calendar and the part spans a
    year.

    The mean is over samples too. Without a `train` part it is over the whole dataset. A time of year that the
    part does not hold takes the nearest one that it does.
    """

    kind: Literal["climatology"] = "climatology"
    season: Literal["auto", "none"] = "auto"
    """`auto`: one mean for each time of year (month, day or part of a day, as the record step says); `none`:
    one mean for all times."""
    harmonics: PositiveInt | None = None
    """Fit the mean and so many harmonics of the year to the means: smoother where records are many and years
    few."""

    reference = "Wilks 2019, section 9.1; harmonics: Narapusetty et al. 2009"
    uses_start = False

    def forecast(
        self, data: FieldData, starts: Sequence[int], leads: Sequence[int]
    ) -> Float[Tensor, "sample start lead *space channel"]:
        """Return the mean of the training records at each verifying record's time of year; NaN past the last
        one.
        """
        phases, num_phases = self._phases(data)
        means = self._means(data, phases, num_phases)
        verifying = torch.tensor(starts)[:, None] + torch.tensor(leads)
        is_known = verifying < len(phases)
        result = means[torch.from_numpy(phases)[torch.where(is_known, verifying, 0)]]
        result[~is_known] = torch.nan
        return result.expand(data.view.num_samples, *result.shape)

    def _phases(self, data: FieldData) -> tuple[Int[np.ndarray, " time"], int]:
        """Return the time of year of every record of the dataset, and how many there are."""
        none = np.zeros(data.info.time.size, dtype=np.int64), 1
        if self.season == "none" or data.info.time.calendar is None:
            return none
        phases, num_phases = times_of_year(data.dataset["time"], data.info.time)
        start, stop = training(data).view.times
        return (phases, num_phases) if len(set(phases[start:stop])) >= ENOUGH * num_phases else none

    def _means(
        self, data: FieldData, phases: Int[np.ndarray, " time"], num_phases: int
    ) -> Float[Tensor, "phase *space channel"]:
        train = training(data)
        shape = (num_phases, *data.info.shape)
        total = torch.zeros(*shape, data.info.num_channels, dtype=torch.float64)
        count = torch.zeros(*shape, 1, dtype=torch.float64)
        for block in train.blocks(BLOCK):
            where = torch.from_numpy(phases[slice(*block.times)])
            valid = replace(data, window=block).valid()[0].to(torch.float64)
            total.index_add_(0, where, data.tensor(window=block, dtype=torch.float64)[0] * valid)
            count.index_add_(0, where, valid.expand(len(where), *data.info.shape, 1))
        means = _filled(total, count)
        if self.harmonics is not None and num_phases > 2 * self.harmonics:
            means = _harmonic_fit(means, count, self.harmonics)
        return means.to(torch.float32)


def training(data: FieldData) -> FieldData:
    """Return the `train` part, or the whole dataset where it is not split."""
    return replace(data, window=data.info.parts.get("train", data.info.whole))


def times_of_year(times: xr.DataArray, axis: TimeAxis) -> tuple[Int[np.ndarray, " time"], int]:
    """Return the place of each time in the year, in record steps, and the number of places; 1 for steps of a
    year.
    """
    months, days = _step_length(axis.step)
    month = times.dt.month.values.astype(np.int64)
    if months is not None:
        places = 12 // months if 12 % months == 0 else 12
        return (month - 1) * places // 12, places
    day = times.dt.day.values.astype(np.int64)
    before = 30 * (month - 1) if axis.calendar == "360_day" else DAYS_BEFORE_MONTH[month - 1]
    clock = (times.dt.hour.values + times.dt.minute.values / 60 + times.dt.second.values / 3600) / 24
    year = 360 if axis.calendar == "360_day" else 366
    width = min(days or 1.0, float(year))
    return np.floor((before + day - 1 + clock) / width + 1e-6).astype(np.int64), math.ceil(
        year / width - 1e-6
    )


def _step_length(step: float | str) -> tuple[int | None, float | None]:
    """Return an ISO 8601 duration in months, or else in days; neither where it is unequal."""
    match = re.fullmatch(
        r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", str(step)
    )
    years, months, weeks, days, hours, minutes, seconds = (
        (float(part or 0) for part in match.groups()) if match else [0.0] * 7
    )
    if years or months:
        return int(12 * years + months), None
    return None, (7 * weeks + days + (hours + (minutes + seconds / 60) / 60) / 24) or None


def _filled(
    total: Float[Tensor, "phase *space channel"], count: Float[Tensor, "phase *space one"]
) -> Float[Tensor, "phase *space channel"]:
    """Return the means; an empty phase takes the nearest one with data, a cell without any data the mean of
    all.
    """
    num_phases = len(total)
    known = count.flatten(1).sum(dim=1) > 0
    places = torch.arange(num_phases)
    gap = (places[:, None] - places[known]).abs()
    nearest = places[known][torch.minimum(gap, num_phases - gap).argmin(dim=1)]
    total, count = total[nearest], count[nearest]
    cell_total, cell_count = total.sum(dim=0), count.sum(dim=0)
    everywhere = cell_total.flatten(0, -2).sum(dim=0) / cell_count.sum()
    cell_mean = torch.where(cell_count > 0, cell_total / cell_count.clamp(min=1), everywhere)
    return torch.where(count > 0, total / count.clamp(min=1), cell_mean)


def _harmonic_fit(
    means: Float[Tensor, "phase *space channel"], count: Float[Tensor, "phase *space one"], harmonics: int
) -> Float[Tensor, "phase *space channel"]:
    """Return the least-squares fit of the year's harmonics, each mean weighing by the records behind it.

    Since the harmonics depend on the time of year alone, this is the fit to the records themselves.
    """
    num_phases = len(means)
    angle = 2 * torch.pi * torch.arange(num_phases, dtype=torch.float64)[:, None] / num_phases
    order = torch.arange(1, harmonics + 1, dtype=torch.float64)
    B = torch.cat([torch.ones_like(angle), torch.cos(angle * order), torch.sin(angle * order)], dim=1)
    w, x = count.flatten(1), means.flatten(1, -2)
    w = torch.where(w.sum(dim=0) > 0, w, 1.0)
    normal = torch.einsum("pb,pc,pd->cbd", B, w, B)
    moment = torch.einsum("pb,pc,pcv->cbv", B, w, x)
    return torch.einsum("pb,cbv->pcv", B, torch.linalg.solve(normal, moment)).reshape(means.shape)
