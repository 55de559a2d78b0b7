"""What a training is fed: batches of runs from one grid or several, in an order that a seed decides."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.batches import Position, Runs, Share
from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.prefetch import ahead
from koopcast.rng import numpy_generator


@dataclass(frozen=True)
class Batch:
    """Some runs of one grid: this process's share of them."""

    feed: int
    """Which grid."""
    frames: Float[Tensor, "batch frame *space channel"]
    weights: Float[Tensor, " batch"] | None
    total: int
    """Runs in the whole batch, over all processes."""


@dataclass(frozen=True)
class Feed:
    """Runs that are fed in batches of one size, every `step`-th point of each space axis."""

    runs: Runs
    batch_size: int
    axes: tuple[Axis, ...]
    """Of the grid that is left."""
    step: int = 1

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return self.runs.num_batches(self.batch_size)

    def batches(self, index: int, seed: int | None, position: Position, share: Share) -> Iterator[Batch]:
        """Yield the batches of an epoch from `position` on."""
        source = self.runs.weighted_batches(self.batch_size, seed=seed, position=position, share=share)
        for number, (frames, weights) in enumerate(source, start=position.batch):
            total = min(self.batch_size, self.runs.count - number * self.batch_size)
            yield Batch(index, self.thinned(frames), weights, total)

    def thinned(
        self, frames: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch frame *coarse channel"]:
        """Return the frames on the points that are left."""
        if self.step == 1:
            return frames
        kept = [slice(None, None, self.step)] * len(self.axes)
        return frames[(slice(None), slice(None), *kept)].contiguous()


def feed_batches(
    feeds: list[Feed], seed: int, position: Position, share: Share
) -> Generator[Batch, None, None]:
    """Yield the batches of one epoch from `position` on, made ahead in threads; a grid is drawn for each."""
    order = _order(feeds, seed, position.epoch)
    done = np.bincount(order[: position.batch], minlength=len(feeds))
    with ExitStack() as stack:
        sources = []
        for index, feed in enumerate(feeds):
            own_seed = seed if index == 0 else seed + index
            own = Position(position.epoch, int(done[index]))
            source = ahead(feed.batches(index, own_seed, own, share))
            sources.append(stack.enter_context(closing(source)))
        for index in order[position.batch :]:
            yield next(sources[index])


def num_batches(feeds: list[Feed]) -> int:
    """Return the batches in an epoch."""
    return sum(feed.num_batches for feed in feeds)


def _order(feeds: list[Feed], seed: int, epoch: int) -> np.ndarray:
    order = np.repeat(np.arange(len(feeds)), [feed.num_batches for feed in feeds])
    return order if len(feeds) == 1 else numpy_generator(seed, "grids", epoch).permutation(order)


def thinning(axes: tuple[Axis, ...], points: int) -> tuple[int, tuple[Axis, ...]]:
    """Return of how many points one is left, so that the first axis keeps `points`, and the axes that are
    left.

    A periodic axis keeps 1 of s points where s divides its number, a closed one where s divides its number
    less 1: its ends stay.

    Raises:
        ShapeMismatch: No such step exists.
    """
    first = axes[0]
    intervals = first.size if first.periodic else first.size - 1
    wanted = points if first.periodic else points - 1
    step = intervals // max(1, wanted)
    faulty = [axis for axis in axes if (axis.size if axis.periodic else axis.size - 1) % max(1, step)]
    if step < 1 or step * wanted != intervals or faulty or any(axis.name == "point" for axis in axes):
        sizes = ", ".join(
            str(intervals // divisor + (not first.periodic))
            for divisor in range(1, min(intervals, 33))
            if intervals % divisor == 0
        )
        raise ShapeMismatch(
            f"{points} points are not reached by leaving out points of axis '{first.name}' ({first.size})",
            f"use one of {sizes}",
        )
    return step, tuple(replace(axis, size=-(-axis.size // step)) for axis in axes)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device."""
    weights = None if batch.weights is None else batch.weights.to(device)
    return replace(batch, frames=batch.frames.to(device), weights=weights)
