"""Training data of Koopman models: normalised frames without masked cells, delayed, paired within samples."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from koopcast.errors import DataError, EmptySelection
from koopcast.fields import FieldData
from koopcast.koopman.base import KoopmanSpec, Rank
from koopcast.numerics.low_rank import optimal_rank
from koopcast.rng import numpy_from
from koopcast.subsets import SubsetSpec


@dataclass(frozen=True)
class Snapshots:
    """Frames of the training window; `values` are normalised, `tensors` undo it."""

    values: Float[Tensor, "sample time value"]
    is_present: Bool[Tensor, " time"]
    """Times at which any cell holds data."""
    tensors: dict[str, Tensor]
    """`cells`, `background`, `offset` and `factor` of the model."""

    def frames(self) -> Float[Tensor, "frame value"]:
        """Return all frames that hold data."""
        return self.values[:, self.is_present].flatten(0, 1)


def read_snapshots(data: FieldData, spec: KoopmanSpec) -> Snapshots:
    """Return the frames of the window in float64, each channel divided by its standard deviation.

    Cells that hold data at every time take part, the others never; a time at which no cell holds data is
    left out.

    Raises:
        DataError: The step is unequal, there is no pair, or nothing varies.
        EmptySelection: No cell holds data at all times.
        NotFinite: A cell that should hold data does not.
    """
    info = data.shape_info
    if info.time.step == "" and info.time.size > 1:
        raise DataError("the records are unequally spaced", "select a stretch with a fixed step")
    if info.time.size <= spec.delays:
        raise DataError(
            f"{info.time.size} records hold no pair of states of {spec.delays} frames",
            "train on more records",
        )
    cells, is_present = _usable(data)
    frames = data.tensor(dtype=torch.float64)
    background = _mean_where_valid(frames, data.valid())
    values = frames[:, :, cells].flatten(2)
    offset = background[cells].flatten() if spec.center else torch.zeros_like(values[0, 0])
    scale = _channel_scale((values - offset)[:, is_present], len(info.variables), values.abs().max())
    weight = _weights(data, spec)[cells].sqrt()
    factor = (scale / weight[:, None]).flatten()
    tensors = {"cells": cells, "background": background, "offset": offset, "factor": factor}
    return Snapshots((values - offset) / factor, is_present, tensors)


def delayed(
    values: Float[Tensor, "sample time value"], delays: int
) -> Float[Tensor, "sample state_time stacked"]:
    """Return the states of `delays` frames, newest first, at every time that has enough of a past."""
    length = values.shape[1]
    return torch.cat([values[:, delays - 1 - lag : length - lag] for lag in range(delays)], dim=2)


def pairs(
    states: Float[Tensor, "sample state_time state"], is_present: Bool[Tensor, " time"]
) -> tuple[Float[Tensor, "pair state"], Float[Tensor, "pair state"]]:
    """Return states and those one step later; none crosses a sample's boundary or a missing time.

    Raises:
        DataError: None is left.
    """
    delays = len(is_present) - states.shape[1] + 1
    is_state = is_present.unfold(0, delays, 1).all(dim=1)
    is_pair = is_state[:-1] & is_state[1:]
    if not bool(is_pair.any()):
        raise DataError(
            "missing times leave no pair of consecutive states", "lower `delays` or train on more"
        )
    before, after = states[:, :-1], states[:, 1:]
    if not bool(is_pair.all()):
        before, after = before[:, is_pair], after[:, is_pair]
    return before.flatten(0, 1), after.flatten(0, 1)


def chosen_pairs(
    snapshots: Snapshots, delays: int, subset: SubsetSpec, generator: torch.Generator
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, "chosen 1"]]:
    """Return which rows of `pairs` to use, and the roots of their weights: what rows of a weighted least
    squares problem are multiplied by.
    """
    frames, _ = pairs(snapshots.values[:, delays - 1 :], snapshots.is_present)
    rows = subset.choose(lambda: [frames], numpy_from(generator))
    return torch.from_numpy(rows.index), torch.from_numpy(rows.weight).sqrt()[:, None]


def chosen_rank(rank: Rank, singular: Float[Tensor, " rank"], matrix: Float[Tensor, "row value"]) -> int:
    """Return how many directions to keep.

    Raises:
        DataError: The fields vary in fewer directions than asked.
    """
    if len(singular) == 0:
        raise DataError("the training fields do not vary", "train on more records or another variable")
    if rank is None:
        return len(singular)
    if rank == "optimal":
        return max(1, optimal_rank(singular, (matrix.shape[0], matrix.shape[1])))
    if isinstance(rank, float):
        share = singular.square().cumsum(0) / matrix.square().sum()
        return min(len(singular), int((share < rank).sum()) + 1)
    if rank > len(singular):
        message = f"rank {rank} asked, but the training fields vary in {len(singular)} directions"
        raise DataError(message, "lower `rank`")
    return rank


def _usable(data: FieldData) -> tuple[Bool[Tensor, "*space"], Bool[Tensor, " time"]]:
    """Return the cells that hold data whenever any does, and when that is within the window."""
    valid = replace(data, window=None).valid()[0, ..., 0]
    times = valid.flatten(1).any(dim=1)
    cells = valid[times].all(dim=0)
    if not bool(cells.any()):
        raise EmptySelection("no cell holds data at all times", "select a region or a stretch that does")
    start, stop = data.view.times
    is_present = times[start:stop] if len(times) > 1 else times.expand(stop - start)
    if int(is_present.sum()) < 2:
        raise DataError("fewer than two times of the training part hold data", "train on more records")
    return cells, is_present


def _mean_where_valid(
    frames: Float[Tensor, "sample time *space channel"], valid: Bool[Tensor, "#sample #time *space 1"]
) -> Float[Tensor, "*space channel"]:
    """Return the mean of each cell over the times that hold data (masked values are 0 in `frames`)."""
    count = valid.expand(*frames.shape[:-1], 1).sum(dim=(0, 1))
    return frames.sum(dim=(0, 1)) / count.clamp_min(1)


def _channel_scale(
    anomalies: Float[Tensor, "sample time value"], num_channels: int, largest: Float[Tensor, ""]
) -> Float[Tensor, " channel"]:
    """Return the standard deviation of each channel; 1 for one that is constant up to rounding."""
    by_channel = anomalies.reshape(-1, num_channels)
    scale = by_channel.square().mean(dim=0).sqrt()
    varies = scale > 1e-12 * largest
    if not bool(varies.any()):
        raise DataError("the training fields do not vary", "train on more records or another variable")
    return torch.where(varies, scale, 1.0)


def _weights(data: FieldData, spec: KoopmanSpec) -> Float[Tensor, "*space"]:
    """Return cell weights of mean 1: the cosine of latitude where there is one."""
    weights = torch.ones(data.info.shape, dtype=torch.float64)
    for index, axis in enumerate(data.info.axes):
        if spec.weights == "area" and axis.geometry == "latitude" and axis.name in data.dataset.coords:
            latitude = torch.tensor(data.dataset[axis.name].values, dtype=torch.float64)
            # A pole has no area, but its cell must not vanish from the reconstruction.
            cosine = torch.cos(torch.deg2rad(latitude)).clamp_min(1e-3)
            weights = weights * cosine.reshape([-1 if i == index else 1 for i in range(weights.dim())])
    return weights / weights.mean()
