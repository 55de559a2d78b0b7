"""Arithmetic that serves tensors and NumPy arrays alike."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from koopcast.rng import Streams

AnyArray = TypeVar("AnyArray", Tensor, np.ndarray)


def normal(*shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw independent standard normal numbers on the generator's device."""
    if isinstance(generator, Streams):
        return generator.normal(shape, dtype)
    return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)


def shared_normal(
    batch: int, *shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draw normal numbers that the experiments of a batch share: `(1, *shape)`, or `(batch, *shape)` where
    sets of them have streams of their own.
    """
    if isinstance(generator, Streams):
        return generator.shared(batch, shape, dtype)
    return normal(1, *shape, generator=generator, dtype=dtype)


def stacked(parts: Sequence[AnyArray]) -> AnyArray:
    """Return parts of equal shape along a new last axis."""
    if isinstance(parts[0], Tensor):
        return torch.stack(list(parts), dim=-1)
    return np.stack(list(parts), axis=-1)


class Ring:
    """Shifted views of a ring `(..., state)`: it is laid out twice, and a neighbour is a window of that.

    The layout of an array is kept while its shape stays; it is column-major, so that a window is one block.
    """

    def __init__(self, *offsets: int) -> None:
        self._offsets = offsets
        self._layout = np.empty(0)
        self._windows: tuple[np.ndarray, ...] = ()

    def neighbours(self, x: AnyArray) -> tuple[AnyArray, ...]:
        """Return x at k + offset for each offset; of an array, valid until the next call."""
        size = x.shape[-1]
        if isinstance(x, Tensor):
            twice = torch.cat((x, x), dim=-1)
            return tuple(twice.narrow(-1, offset % size, size) for offset in self._offsets)
        if self._layout.shape != (*x.shape[:-1], 2 * size) or self._layout.dtype != x.dtype:
            self._layout = np.empty((*x.shape[:-1], 2 * size), dtype=x.dtype, order="F")
            starts = [offset % size for offset in self._offsets]
            self._windows = tuple(self._layout[..., start : start + size] for start in starts)
        np.concatenate((x, x), axis=-1, out=self._layout)
        return self._windows
