"""Losses: one number for a batch of predicted fields, in which masked cells and units carry no weight."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast.grids import Axis
from koopcast.mapping import Signature
from koopcast.spec import MethodSpec, Problem


@dataclass(frozen=True)
class Measure:
    """What a loss knows of the fields beside their values: the domain, and the size of each channel."""

    axes: tuple[Axis, ...]
    valid: Bool[Tensor, "*space"]
    """Cells that count."""
    std: Float[Tensor, " channel"]
    """Standard deviation of each channel over the training data; 0 for a channel that never changes."""
    rms: Float[Tensor, " channel"]
    """Root mean square of each channel over the training data."""
    frames: int = 1
    """Frames that stand as channels, variables fastest: a relative error is that of all of them together."""
    signature: Signature | None = None
    """What the model maps to what."""
    given: Float[Tensor, "batch frame *space channel_in"] | None = None
    """What it was given for these fields, physical units."""

    def to(self, device: torch.device) -> "Measure":
        """Return the same with its tensors on `device`."""
        given = None if self.given is None else self.given.to(device)
        valid, std, rms = (tensor.to(device) for tensor in (self.valid, self.std, self.rms))
        return replace(self, valid=valid, std=std, rms=rms, given=given)

    def mean_square(self, field: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch channel"]:
        """Return the mean of the squares over the cells that count."""
        squares = field.square() * self.valid[..., None]
        return squares.flatten(1, -2).sum(1) / self.valid.sum()


class LossSpec(MethodSpec):
    """Options of a loss. Fields are in physical units; every channel has the same weight whatever its
    units.
    """

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Yield the rules that the options break on what is mapped to what."""
        yield from ()

    @abstractmethod
    def measure(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        measure: Measure,
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch, the mean over its members."""
