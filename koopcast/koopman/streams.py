"""Training data of Koopman models that do not fit into memory: the same frames, block by block."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast.batches import Runs
from koopcast.fields import FieldData
from koopcast.grids import Window
from koopcast.koopman.base import LatentSpec
from koopcast.koopman.snapshots import (
    cell_weights,
    channel_scale,
    delayed,
    refuse_unpaired,
    usable,
)


class Stream:
    """Normalised stacks of delayed frames; memory holds two blocks of fields and their stacks.

    One pass finds what normalises them; each call of `rows` or `components` is another one.

    Args:
        data: Fields; the window is what may be seen.
        spec: How many frames make a state, and how they are normalised.

    Raises:
        DataError: As `read_snapshots`.
    """

    def __init__(self, data: FieldData, spec: LatentSpec) -> None:
        refuse_unpaired(data.shape_info, spec)
        self._data, self._delays = data, spec.delays
        self._cells, self.is_present = usable(data)
        self._is_whole = bool(self._cells.all())
        self.tensors = self._normaliser(spec)

    def rows(self, chosen: Bool[Tensor, " state_time"]) -> Iterator[Float[Tensor, "row stacked"]]:
        """Yield the stacks at the chosen times of all samples, in order."""
        for window, stacks in self._stacks():
            yield _taken(stacks, chosen[slice(*window.times)]).flatten(0, 1)

    def newest(self, chosen: Bool[Tensor, " state_time"]) -> Iterator[Float[Tensor, "row value"]]:
        """Yield the newest frames of the chosen states of all samples, in order."""
        return (rows[:, : len(self.tensors["offset"])] for rows in self.rows(chosen))

    def components(
        self, Q: Float[Tensor, "stacked width"], chosen: Bool[Tensor, " state_time"]
    ) -> tuple[Float[Tensor, "sample state_time width"], Float[Tensor, ""]]:
        """Return the components of all stacks along Q, and the sum of squares of the chosen stacks."""
        view = self._data.view
        shape = (view.num_samples, view.num_times - self._delays + 1, Q.shape[1])
        result, total = torch.zeros(shape, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for window, stacks in self._stacks():
            result[slice(*window.samples), slice(*window.times)] = stacks @ Q
            total += torch.linalg.vector_norm(_taken(stacks, chosen[slice(*window.times)])).square()
        return result, total

    def _stacks(self) -> Iterator[tuple[Window, Float[Tensor, "sample state_time stacked"]]]:
        """Yield the normalised stacks of each block, and which samples and states of the window they are."""
        view = self._data.view
        for block, frames in self._blocks(self._delays):
            samples = (block.samples[0] - view.samples[0], block.samples[1] - view.samples[0])
            first, last = block.times[0] - view.times[0], block.times[1] - view.times[0]
            values = frames if self._is_whole else frames[:, :, self._cells]
            values = (values.flatten(2) - self.tensors["offset"]).div_(self.tensors["factor"])
            stacks = values if self._delays == 1 else delayed(values, self._delays)
            yield Window(samples, (first, last - self._delays + 1)), stacks

    def _blocks(self, length: int) -> Iterator[tuple[Window, Tensor]]:
        """Yield the fields of each block of runs, as precise as the data, while the next one is read."""
        blocks = Runs(self._data, length, "the training fields").blocks
        is_single = all(self._data.dataset[name].dtype == "float32" for name in self._data.info.variables)
        read = partial(self._data.tensor, dtype=torch.float32 if is_single else torch.float64)
        with ThreadPoolExecutor(1, thread_name_prefix="koopcast-read") as reader:
            ahead = reader.submit(read, window=blocks[0])
            for block, following in zip(blocks, [*blocks[1:], None], strict=True):
                frames = ahead.result()
                if following is not None:
                    ahead = reader.submit(read, window=following)
                yield block, frames

    def _normaliser(self, spec: LatentSpec) -> dict[str, Tensor]:
        """Return `cells`, `background`, `offset` and `factor` of the model, from one pass over the
        frames.
        """
        info = self._data.info
        shape = (*info.shape, info.num_channels)
        count = torch.zeros(*info.shape, 1, dtype=torch.float64)
        total, squares = torch.zeros(2, *shape, dtype=torch.float64)
        largest, shift = torch.zeros((), dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        for block, frames in self._blocks(1):
            valid = FieldData(self._data.dataset, info, block).valid()
            num = valid.expand(*frames.shape[:-1], 1).sum(dim=(0, 1))
            largest = torch.maximum(largest, torch.stack(frames.aminmax()).abs().max())
            if not bool(count.any()):
                # Sums of departures from a value of the right size keep the digits of a small variance.
                shift = frames.sum(dim=(0, 1), dtype=torch.float64) / num.clamp_min(1)
            values = frames - shift
            if not bool(valid.all()):
                values.mul_(valid)
            count, total = count + num, total + values.sum(dim=(0, 1))
            squares += values.square_().sum(dim=(0, 1))
        count = count.clamp_min(1)
        mean = total / count
        background = mean + shift
        offset = background if spec.center else torch.zeros_like(background)
        spread = (squares / count - mean.square()).clamp_min(0) + (background - offset).square()
        scale = channel_scale(spread[self._cells].flatten(), info.num_channels, largest)
        weight = cell_weights(self._data, spec)[self._cells].sqrt()
        return {
            "cells": self._cells,
            "background": background,
            "offset": offset[self._cells].flatten(),
            "factor": (scale / weight[:, None]).flatten(),
        }


def _taken(
    stacks: Float[Tensor, "sample state_time stacked"], chosen: Bool[Tensor, " state_time"]
) -> Float[Tensor, "sample chosen stacked"]:
    """Return the stacks at the chosen times, without a copy where these are all."""
    return stacks if bool(chosen.all()) else stacks[:, chosen]
