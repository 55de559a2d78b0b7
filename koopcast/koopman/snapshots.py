"""Training data of Koopman models: normalised frames without masked cells, delayed, paired within samples."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from koopcast.errors import DataError, EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo, Window
from koopcast.koopman.base import LatentSpec, Rank
from koopcast.numerics.low_rank import optimal_rank
from koopcast.numerics.pod import Blocks
from koopcast.rng import numpy_from
from koopcast.subsets import SubsetSpec

MASK_CELLS = 2**26
"""Cells of a mask that are read at once."""


@dataclass(frozen=True)
class Snapshots:
    """Frames of the training window; `values` are normalised, `tensors` undo it."""

    values: Float[Tensor, "sample time value"]
    is_present: Bool[Tensor, " time"]
    """Times at which any cell holds data."""
    tensors: dict[str, Tensor]
    """`cells`, `background`, `offset` and `factor` of the model."""

    def newest(self, chosen: Bool[Tensor, " state_time"]) -> list[Float[Tensor, "row value"]]:
        """Return the newest frames of the chosen states of all samples, as one block."""
        return [self.values[:, -len(chosen) :][:, chosen].flatten(0, 1)]

    def frames(self) -> Float[Tensor, "frame value"]:
        """Return all frames that hold data."""
        return self.values[:, self.is_present].flatten(0, 1)


def read_snapshots(data: FieldData, spec: LatentSpec) -> Snapshots:
    """Return the frames of the window in float64, each channel divided by its standard deviation.

    Cells that hold data at every time take part, the others never; a time at which no cell holds data is
    left out.

    Raises:
        DataError: The step is unequal, there is no pair, or nothing varies.
        EmptySelection: No cell holds data at all times.
        NotFinite: A cell that should hold data does not.
    """
    info = data.shape_info
    refuse_unpaired(info, spec)
    cells, is_present = usable(data)
    frames = data.tensor(dtype=torch.float64)
    background = _mean_where_valid(frames, data.valid())
    # `frames` are a copy of the data, and serve as they are where all cells take part.
    values = frames.flatten(2) if bool(cells.all()) else frames[:, :, cells].flatten(2)
    lowest, highest = values.aminmax()
    offset = background[cells].flatten() if spec.center else torch.zeros_like(values[0, 0])
    # Where all times are present nothing is copied.
    anomalies = values.sub_(offset)
    present = anomalies if bool(is_present.all()) else anomalies[:, is_present]
    squares = torch.linalg.vector_norm(present, dim=(0, 1)).square() / present[..., 0].numel()
    scale = channel_scale(squares, len(info.variables), torch.maximum(highest, -lowest))
    weight = cell_weights(data, spec)[cells].sqrt()
    factor = (scale / weight[:, None]).flatten()
    tensors = {"cells": cells, "background": background, "offset": offset, "factor": factor}
    return Snapshots(anomalies.div_(factor), is_present, tensors)


def refuse_unpaired(info: FieldsInfo, spec: LatentSpec) -> None:
    """Refuse records that are unequally spaced, where that matters, or too few for a pair of states.

    Raises:
        DataError: They are.
    """
    if info.time.step == "" and info.time.size > 1 and not spec.takes_unequal_steps:
        raise DataError("the records are unequally spaced", "select a stretch with a fixed step")
    if info.time.size <= spec.delays:
        raise DataError(
            f"{info.time.size} records hold no pair of states of {spec.delays} frames",
            "train on more records",
        )


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
    is_pair = paired(is_present, len(is_present) - states.shape[1] + 1)
    before, after = states[:, :-1], states[:, 1:]
    if not bool(is_pair.all()):
        before, after = before[:, is_pair], after[:, is_pair]
    return before.flatten(0, 1), after.flatten(0, 1)


def complete(is_present: Bool[Tensor, " time"], delays: int) -> Bool[Tensor, " state_time"]:
    """Return which states of `delays` frames have all of them."""
    return is_present.unfold(0, delays, 1).all(dim=1)


def paired(is_present: Bool[Tensor, " time"], delays: int) -> Bool[Tensor, " pair_time"]:
    """Return which states of `delays` frames are complete and followed by a complete one.

    Raises:
        DataError: None is.
    """
    is_state = complete(is_present, delays)
    is_pair = is_state[:-1] & is_state[1:]
    if not bool(is_pair.any()):
        raise DataError(
            "missing times leave no pair of consecutive states", "lower `delays` or train on more"
        )
    return is_pair


def firsts(is_present: Bool[Tensor, " time"], delays: int) -> Bool[Tensor, " state_time"]:
    """Return which states are the first of a pair: never the last of a trajectory."""
    return torch.cat([paired(is_present, delays), torch.zeros(1, dtype=torch.bool)])


def chosen_pairs(
    snapshots: Snapshots, delays: int, subset: SubsetSpec, generator: torch.Generator
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, "chosen 1"]]:
    """Return which rows of `pairs` to use, and the roots of their weights: what rows of a weighted least
    squares problem are multiplied by.
    """
    is_first = firsts(snapshots.is_present, delays)
    return chosen_rows(lambda: snapshots.newest(is_first), subset, generator)


def chosen_rows(
    frames: Blocks, subset: SubsetSpec, generator: torch.Generator
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, "chosen 1"]]:
    """Return the same for the newest frames of the first states of all pairs, block by block."""
    rows = subset.choose(frames, numpy_from(generator))
    return torch.from_numpy(rows.index), torch.from_numpy(rows.weight).sqrt()[:, None]


def chosen_rank(rank: Rank, singular: Float[Tensor, " rank"], matrix: Float[Tensor, "row value"]) -> int:
    """Return how many directions to keep.

    Raises:
        DataError: The fields vary in fewer directions than asked.
    """
    return rank_of_shape(rank, singular, matrix.shape, matrix.square().sum())


def rank_of_shape(
    rank: Rank, singular: Float[Tensor, " rank"], shape: tuple[int, ...], total: Float[Tensor, ""]
) -> int:
    """Return the same for a matrix of which shape and sum of squares are known.

    Raises:
        DataError: The fields vary in fewer directions than asked.
    """
    if len(singular) == 0:
        raise DataError("the training fields do not vary", "train on more records or another variable")
    if rank is None:
        return len(singular)
    if rank == "optimal":
        return max(1, optimal_rank(singular, (shape[0], shape[1])))
    if isinstance(rank, float):
        share = singular.square().cumsum(0) / total
        return min(len(singular), int((share < rank).sum()) + 1)
    if rank > len(singular):
        message = f"rank {rank} asked, but the training fields vary in {len(singular)} directions"
        raise DataError(message, "lower `rank`")
    return rank


def usable(data: FieldData) -> tuple[Bool[Tensor, "*space"], Bool[Tensor, " time"]]:
    """Return the cells that hold data whenever any does, and when that is within the window."""
    whole = data.info.whole.times
    size = max(1, MASK_CELLS // data.info.num_cells)
    cells, times = torch.ones(data.info.shape, dtype=torch.bool), []
    for start in range(*whole, size):
        block = Window((0, 1), (start, min(start + size, whole[1])))
        valid = replace(data, window=block).valid()[0, ..., 0]
        times.append(valid.flatten(1).any(dim=1))
        cells &= valid[times[-1]].all(dim=0)
        if len(valid) != block.num_times:  # one mask for all times
            times[-1] = times[-1].expand(whole[1])
            break
    if not bool(cells.any()):
        raise EmptySelection("no cell holds data at all times", "select a region or a stretch that does")
    is_present = torch.cat(times)[slice(*data.view.times)]
    if int(is_present.sum()) < 2:
        raise DataError("fewer than two times of the training part hold data", "train on more records")
    return cells, is_present


def _mean_where_valid(
    frames: Float[Tensor, "sample time *space channel"], valid: Bool[Tensor, "#sample #time *space 1"]
) -> Float[Tensor, "*space channel"]:
    """Return the mean of each cell over the times that hold data (masked values are 0 in `frames`)."""
    count = valid.expand(*frames.shape[:-1], 1).sum(dim=(0, 1))
    return frames.sum(dim=(0, 1)) / count.clamp_min(1)


def channel_scale(
    squares: Float[Tensor, " value"], num_channels: int, largest: Float[Tensor, ""]
) -> Float[Tensor, " channel"]:
    """Return the standard deviation of each channel; 1 for one that is constant up to rounding.

    Args:
        squares: Mean over samples and times of the squared anomaly of each value of a frame.
        num_channels: How many there are; the channel runs fastest.
        largest: The largest value, for its rounding.

    Raises:
        DataError: All are constant.
    """
    scale = squares.reshape(-1, num_channels).mean(dim=0).sqrt()
    varies = scale > 1e-12 * largest
    if not bool(varies.any()):
        raise DataError("the training fields do not vary", "train on more records or another variable")
    return torch.where(varies, scale, 1.0)


def cell_weights(data: FieldData, spec: LatentSpec) -> Float[Tensor, "*space"]:
    """Return cell weights of mean 1: the cosine of latitude where there is one."""
    weights = torch.ones(data.info.shape, dtype=torch.float64)
    for index, axis in enumerate(data.info.axes):
        if spec.weights == "area" and axis.geometry == "latitude" and axis.name in data.dataset.coords:
            latitude = torch.tensor(data.dataset[axis.name].values, dtype=torch.float64)
            # A pole has no area, but its cell must not vanish from the reconstruction.
            cosine = torch.cos(torch.deg2rad(latitude)).clamp_min(1e-3)
            weights = weights * cosine.reshape([-1 if i == index else 1 for i in range(weights.dim())])
    return weights / weights.mean()
