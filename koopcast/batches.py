"""Short runs of consecutive frames, drawn from data that need not fit into memory."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Window
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.rng import numpy_generator

BLOCK_BYTES = 2**25
"""Size of what is read at once."""
BUFFER_BYTES = 2**29
"""Size of what is shuffled as a whole; data below it are read once. Of larger data twice as much is held: the
next blocks are read while the present ones are used."""
NUMBER_BYTES = 4


@dataclass(frozen=True)
class Position:
    """Where a training stands: batches `batch` and later of epoch `epoch` are to come."""

    epoch: int
    batch: int


@dataclass(frozen=True)
class Share:
    """Which part of every batch is wanted: that of process `rank` of `count` that share the work."""

    rank: int = 0
    count: int = 1

    def of(self, size: int) -> slice:
        """Return the places of a batch of `size` that are this process's own."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)


ALONE = Share()


class Runs:
    """All runs of `length` consecutive frames inside the samples of a window; none crosses a sample or the
    window's edge.

    Args:
        data: Fields; the window is what may be seen.
        length: Frames in a run.
        name: What the data are, for messages.

    Raises:
        EmptySelection: The window is shorter than one run.
    """

    def __init__(self, data: FieldData, length: int, name: str) -> None:
        self.data, self.length = data, length
        view = data.view
        if view.num_times < length or view.num_samples < 1:
            raise EmptySelection(
                f"{name} hold {view.num_samples} samples of {view.num_times} times, one run takes {length}",
                "give the part more times, or lower model.history and training.rollout",
            )
        self.starts = view.num_times - length + 1
        self.count = view.num_samples * self.starts
        frame = data.info.num_cells * data.info.num_channels * NUMBER_BYTES
        self.blocks = _blocks(view, self.starts, length, max(1, BLOCK_BYTES // frame))
        self._weights: Float[np.ndarray, " run"] | None = None
        self._held: dict[int, Future[Tensor]] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="koopcast-read")
        self._blocks_in_buffer = max(
            1, BUFFER_BYTES // max(1, max(_frames(block) for block in self.blocks) * frame)
        )

    def sharing(self) -> "Runs":
        """Return the same runs, read apart from these."""
        other = copy(self)
        other._held = {}
        other._reader = ThreadPoolExecutor(1, thread_name_prefix="koopcast-read")
        return other

    def keep(self, numbers: Int[np.ndarray, " chosen"], weights: Float[np.ndarray, " chosen"]) -> None:
        """Leave these runs alone, numbered by sample and then by first frame, each with its weight.

        A run that is named more than once is kept once, with the sum of its weights; weights are scaled so
        that a mean over the runs that are left stands for the weighted mean over those that were named.
        """
        total = np.bincount(numbers, weights, minlength=self.count)
        kept = int((total > 0).sum())
        self._weights, self.count = total * (kept / len(numbers)), kept

    def num_batches(self, size: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-self.count // size)

    def batches(
        self, size: int, *, seed: int | None = None, position: Position = Position(0, 0)
    ) -> Iterator[Float[Tensor, "batch frame *space channel"]]:
        """Yield the batches of one epoch from `position` on, without their weights."""
        return (frames for frames, _ in self.weighted_batches(size, seed=seed, position=position))

    def weighted_batches(
        self,
        size: int,
        *,
        seed: int | None = None,
        position: Position = Position(0, 0),
        share: Share = ALONE,
    ) -> Iterator[tuple[Float[Tensor, "batch frame *space channel"], Float[Tensor, " batch"] | None]]:
        """Yield the batches of one epoch from `position` on, and the weights of their runs; None: all 1.

        The order depends on the seed and the epoch alone: blocks are shuffled, then the runs of as many
        blocks as fit into the buffer. Without a seed the runs come in order. Of each batch the `share` is
        read.
        """
        groups, rows = self._order(None if seed is None else numpy_generator(seed, "shuffle", position.epoch))
        ends = np.cumsum([len(part) for part in rows])
        order = np.concatenate(rows)
        for start in range(position.batch * size, len(order), size):
            chosen = order[start : start + size]
            first, last = np.searchsorted(ends, [start, start + len(chosen) - 1], side="right")
            self._hold([block for group in groups[first : last + 2] for block in group])
            own = chosen[share.of(len(chosen))]
            yield self._gather(own), self._weights_of(own)

    def statistics(self, valid: Bool[Tensor, "*space"], *, of_cells: bool = False) -> FieldStatistics:
        """Return mean and spread of fields and of their increments, block by block, over the cells in
        `valid`; of each cell too where that is asked for.
        """
        info = self.data.info
        fields, increments = Moments.zero(info.num_channels), Moments.zero(info.num_channels)
        cells = Moments.zero(*info.shape, info.num_channels) if of_cells else None
        for block in self.blocks:
            values = self.data.tensor(window=block)
            # Blocks share their last frames with the next one: each frame, and each increment, counts once.
            is_last = block.times[1] == self.data.view.times[1]
            own = values.shape[1] if is_last else values.shape[1] - self.length + 1
            steps = (values[:, 1:] - values[:, :-1])[:, : min(own, values.shape[1] - 1)]
            fields = fields.merged(Moments.of(values[:, :own], valid.expand(values[:, :own].shape[:-1])))
            increments = increments.merged(Moments.of(steps, valid.expand(steps.shape[:-1])))
            if cells is not None:
                cells = cells.merged(Moments.of_cells(values[:, :own].flatten(0, 1)))
        return FieldStatistics(valid, fields, increments, cells)

    def _order(self, generator: np.random.Generator | None) -> tuple[list[list[int]], list[np.ndarray]]:
        """Return groups of blocks that are held together, and of each its rows (block, sample, time),
        shuffled.
        """
        blocks = list(range(len(self.blocks)))
        if generator is not None:
            blocks = [int(block) for block in generator.permutation(blocks)]
        size = self._blocks_in_buffer
        groups = [blocks[start : start + size] for start in range(0, len(blocks), size)]
        rows = [np.concatenate([self._rows(block) for block in group]) for group in groups]
        return groups, (rows if generator is None else [generator.permutation(part) for part in rows])

    def _rows(self, index: int) -> np.ndarray:
        block = self.blocks[index]
        samples, starts = np.meshgrid(
            np.arange(block.num_samples), np.arange(block.num_times - self.length + 1), indexing="ij"
        )
        rows = np.stack([np.full(samples.size, index), samples.ravel(), starts.ravel()], axis=1)
        return rows if self._weights is None else rows[self._weights[self._numbers(rows)] > 0]

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of runs (block, sample, time) among all runs of the window."""
        view = self.data.view
        origins = np.array([(block.samples[0], block.times[0]) for block in self.blocks])[rows[:, 0]]
        places = rows[:, 1:] + origins - (view.samples[0], view.times[0])
        return np.asarray(places[:, 0] * self.starts + places[:, 1])

    def _weights_of(self, rows: np.ndarray) -> Float[Tensor, " batch"] | None:
        if self._weights is None:
            return None
        weights = self._weights[self._numbers(rows)]
        return None if (weights == 1).all() else torch.from_numpy(weights)

    def _hold(self, wanted: list[int]) -> None:
        """Let go of other blocks, and have missing ones read, in the order in which they are used."""
        for block in self._held.keys() - set(wanted):
            self._held.pop(block).cancel()
        for block in wanted:
            if block not in self._held:
                self._held[block] = self._reader.submit(self.data.tensor, window=self.blocks[block])

    def _block(self, index: int) -> Tensor:
        return self._held[index].result()

    def _gather(self, rows: np.ndarray) -> Float[Tensor, "batch frame *space channel"]:
        info = self.data.info
        result = torch.empty(len(rows), self.length, *info.shape, info.num_channels)
        steps = torch.arange(self.length)
        for index in np.unique(rows[:, 0]):
            here = np.flatnonzero(rows[:, 0] == index)
            samples, starts = torch.from_numpy(rows[here, 1]), torch.from_numpy(rows[here, 2])
            result[torch.from_numpy(here)] = self._block(int(index))[
                samples[:, None], starts[:, None] + steps
            ]
        return result


def _frames(block: Window) -> int:
    return block.num_samples * block.num_times


def _blocks(view: Window, starts: int, length: int, frames: int) -> list[Window]:
    """Cut a window into blocks of about `frames` frames: several samples, or a stretch of one sample."""
    if view.num_times <= frames:
        step = frames // view.num_times
        edges = range(view.samples[0], view.samples[1], step)
        return [Window((low, min(low + step, view.samples[1])), view.times) for low in edges]
    step = max(1, frames - length + 1)
    return [
        Window(
            (sample, sample + 1), (view.times[0] + low, view.times[0] + min(low + step, starts) + length - 1)
        )
        for sample in range(*view.samples)
        for low in range(0, starts, step)
    ]
