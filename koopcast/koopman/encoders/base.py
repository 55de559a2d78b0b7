"""Encoders: from normalised fields to latent vectors, and back."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from koopcast.grids import Axis
from koopcast.spec import MethodSpec, Problem


@dataclass(frozen=True)
class Ends:
    """What an encoder takes and what a decoder returns: fields `(batch, *space, channel)`."""

    axes: tuple[Axis, ...]
    channels_in: int
    """History times variables."""
    channels_out: int
    """Variables."""
    latent: int
    """Entries of a latent vector."""

    @property
    def cells(self) -> int:
        """Points of the grid."""
        result = 1
        for axis in self.axes:
            result *= axis.size
        return result


class EncoderSpec(MethodSpec):
    """Options of an encoder and its decoder."""

    @abstractmethod
    def encoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the network `(batch, *space, channels_in)` -> `(batch, latent)`."""

    @abstractmethod
    def decoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the network `(batch, latent)` -> `(batch, *space, channels_out)`."""

    def faults(self, ends: Ends) -> Iterator[Problem]:
        """Yield the rules that the options break on such fields."""
        yield from ()
