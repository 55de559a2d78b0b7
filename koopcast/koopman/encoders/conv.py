"""Convolutional encoder and decoder."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from koopcast.koopman.encoders.base import EncoderSpec, Ends
from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolution import Convolution
from koopcast.layers.perceptron import glorot
from koopcast.spec import Problem

MOST_AXES = 2


class ConvSpec(EncoderSpec):
    """Convolutions with every second point kept after each, then a linear map; the decoder has the same in
    reverse, with each point doubled before each.
    """

    kind: Literal["conv"] = "conv"
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=10)] = (16, 32)
    """Channels of each level; a level halves each axis."""
    kernel: PositiveInt = Field(5, le=31)
    """Taps of each axis, an odd number."""

    reference = "Cheng et al. 2026, visual inputs; circular on periodic axes"

    def encoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the levels and the linear map."""
        grid = BaseGrid.of(ends.axes)
        levels: list[nn.Module] = []
        for given, asked in pairwise((ends.channels_in, *self.hidden)):
            levels += [Convolution(given, asked, self.kernel, grid, generator=generator), nn.GELU(), Halved()]
        linear = glorot(self._coarsest(ends) * self.hidden[-1], ends.latent, generator)
        return nn.Sequential(*levels, nn.Flatten(), linear)

    def decoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the linear map and the levels in reverse."""
        grid, factor = BaseGrid.of(ends.axes), 2 ** len(self.hidden)
        shape = (*(axis.size // factor for axis in ends.axes), self.hidden[-1])
        levels: list[nn.Module] = []
        for given, asked in pairwise((*reversed(self.hidden), ends.channels_out)):
            levels += [
                nn.GELU(),
                Doubled(),
                Convolution(given, asked, self.kernel, grid, generator=generator),
            ]
        linear = glorot(ends.latent, self._coarsest(ends) * self.hidden[-1], generator)
        return nn.Sequential(linear, nn.Unflatten(1, shape), *levels)

    def faults(self, ends: Ends) -> Iterator[Problem]:
        """Refuse grids that cannot be halved so often, and even kernels."""
        if self.kernel % 2 == 0:
            yield Problem(("encoder", "kernel"), f"{self.kernel} taps have no middle; use {self.kernel + 1}")
        if not 1 <= len(ends.axes) <= MOST_AXES:
            yield Problem(("encoder",), f"{len(ends.axes)} space axes; conv takes 1 or {MOST_AXES}; use mlp")
        factor = 2 ** len(self.hidden)
        for axis in ends.axes:
            if axis.size % factor:
                yield Problem(
                    ("encoder", "hidden"),
                    f"{len(self.hidden)} levels halve '{axis.name}' so often, and its {axis.size} points are "
                    f"no multiple of {factor}; name fewer",
                )

    def _coarsest(self, ends: Ends) -> int:
        return ends.cells >> (len(self.hidden) * len(ends.axes))


class Halved(nn.Module):
    """Keeps every second point of each axis."""

    def forward(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch *half channel"]:
        """Return these points."""
        return x[(slice(None), *[slice(None, None, 2)] * (x.ndim - 2))]


class Doubled(nn.Module):
    """Has each point twice along each axis."""

    def forward(self, x: Float[Tensor, "batch *half channel"]) -> Float[Tensor, "batch *space channel"]:
        """Return these points."""
        for dim in range(1, x.ndim - 1):
            x = x.repeat_interleave(2, dim=dim)
        return x
