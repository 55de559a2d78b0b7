"""Bases of few functions on a grid, onto which fields are projected."""

import math
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor


def low_frequencies(
    shape: tuple[int, ...], periodic: tuple[bool, ...], count: int
) -> Float[Tensor, "cell function"]:
    """Return `count` products of waves of the axes, low frequencies first, orthonormal on the grid; float64.

    A periodic axis has 1, cos 2πkj/N and sin 2πkj/N, a closed one cos πk(j + 1/2)/N, of frequency k/2.
    """
    tables = [_waves(size, is_periodic) for size, is_periodic in zip(shape, periodic, strict=True)]
    places = product(*(range(size) for size in shape))
    frequencies = [values for _, values in tables]

    def total(place: tuple[int, ...]) -> float:
        return sum(values[index] ** 2 for values, index in zip(frequencies, place, strict=True))

    chosen = sorted(places, key=total)[:count]
    columns = []
    for place in chosen:
        column = torch.ones(1, dtype=torch.float64)
        for (table, _), index in zip(tables, place, strict=True):
            column = torch.outer(column, table[:, index]).flatten()
        columns.append(column)
    return torch.stack(columns, dim=1)


def _waves(size: int, is_periodic: bool) -> tuple[Float[Tensor, "point wave"], list[float]]:
    """Return all orthonormal waves of an axis, one a column, and their frequencies."""
    points = torch.arange(size, dtype=torch.float64)
    columns: list[Tensor] = []
    frequencies: list[float] = []
    for wave in range(size):
        if is_periodic:
            frequencies.append(float((wave + 1) // 2))
            angle = 2 * math.pi * frequencies[-1] * points / size
            column = torch.sin(angle) if wave % 2 == 0 and wave else torch.cos(angle)
        else:
            column = torch.cos(math.pi * wave * (points + 0.5) / size)
            frequencies.append(wave / 2)
        columns.append(column / column.norm())
    return torch.stack(columns, dim=1), frequencies
