"""Trigonometric functions of the coordinates."""

import math
from collections.abc import Iterator, Mapping
from math import comb
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.errors import DataError
from koopcast.koopman.dictionaries.base import DictionarySpec


class FourierSpec(DictionarySpec):
    """1, the coordinates, and cos k·θ and sin k·θ of integer vectors k with 1 ≤ |k₁| + |k₂| + .. ≤ waves."""

    kind: Literal["fourier"] = "fourier"
    waves: Annotated[int, Field(ge=1, le=256)] = 2
    """Largest sum of wavenumbers. The count grows with the power `coordinates` of it."""
    angles: Literal["box", "circles"] = "box"
    """What θ is: 2π times the place of each coordinate in the range of the training data, or the angle of the
    point that each pair of coordinates (cos θ, sin θ) is on its circle."""
    period: PositiveFloat = 1.0
    """With `box`: length of a period, as a multiple of the range; 2 for functions that are not periodic."""

    reference = "standard; Colbrook, Mezić & Stepanenko 2024 (circle maps)"

    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Measure ranges, or the centres of circles.

        Raises:
            DataError: Coordinates that are no pairs are to lie on circles.
        """
        low, high = coordinates.amin(dim=0), coordinates.amax(dim=0)
        if self.angles == "circles":
            if coordinates.shape[1] % 2:
                raise DataError(
                    f"angles: circles asks for pairs of coordinates, and there are {coordinates.shape[1]}",
                    "change `rank`, or set angles: box",
                )
            return {"center": (low + high) / 2}
        size = self.period * torch.where(high > low, high - low, 1.0)
        return {"low": low, "frequency": 2 * math.pi / size}

    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Return 1, cosines and sines."""
        if self.angles == "circles":
            around = coordinates - tensors["center"]
            angle = torch.atan2(around[:, 1::2], around[:, ::2])
        else:
            angle = (coordinates - tensors["low"]) * tensors["frequency"]
        k = torch.tensor(self.wavenumbers(angle.shape[1]), dtype=angle.dtype).reshape(-1, angle.shape[1])
        phase = angle @ k.mT
        return torch.cat([torch.ones_like(coordinates[:, :1]), phase.cos(), phase.sin()], dim=1)

    def wavenumbers(self, dims: int) -> list[tuple[int, ...]]:
        """Return one k of each pair ±k: that whose first number other than 0 is positive."""
        found = (k for k in _within(self.waves, dims) if k > (0,) * dims)
        return sorted(found, key=lambda k: (sum(map(abs, k)), k))

    def num_observables(self, num_coordinates: int) -> int:
        """Return the number of integer vectors within the limit, 0 included."""
        dims = num_coordinates // 2 if self.angles == "circles" else num_coordinates
        return sum(2**i * comb(dims, i) * comb(self.waves, i) for i in range(min(dims, self.waves) + 1))


def _within(limit: int, dims: int) -> Iterator[tuple[int, ...]]:
    """Yield the integer vectors whose absolute values sum to `limit` at most."""
    if dims == 0:
        yield ()
        return
    for first in range(-limit, limit + 1):
        for rest in _within(limit - abs(first), dims - 1):
            yield (first, *rest)
