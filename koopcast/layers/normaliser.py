"""Normalisation of fields, fitted on training data and stored with the model."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared departures of each channel, float64; blocks of data can be merged."""

    count: int
    mean: Float[Tensor, " channel"]
    departure: Float[Tensor, " channel"]

    @classmethod
    def of(
        cls, field: Float[Tensor, "*batch_and_space channel"], valid: Bool[Tensor, "*batch_and_space"]
    ) -> "Moments":
        """Return the moments over the cells that are valid."""
        values = field[valid].to(torch.float64)
        mean = values.mean(0) if len(values) else values.new_zeros(values.shape[-1])
        return cls(len(values), mean, (values - mean).square().sum(0))

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of both blocks together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        if count == 0:
            return self
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        departure = self.departure + other.departure + shift.square() * (self.count * other.count / count)
        return Moments(count, mean, departure)

    @property
    def std(self) -> Float[Tensor, " channel"]:
        """Standard deviation."""
        return (self.departure / max(1, self.count)).sqrt()

    @property
    def rms(self) -> Float[Tensor, " channel"]:
        """Root mean square."""
        return (self.mean.square() + self.std.square()).sqrt()


@dataclass(frozen=True)
class FieldStatistics:
    """What the training part says of the fields, over the cells that always hold data."""

    valid: Bool[Tensor, "*space"]
    """Cells that hold data at every time."""
    fields: Moments
    increments: Moments
    """Of the change from one record to the next, within a sample."""


class Normaliser(nn.Module):
    """Takes each channel to mean 0 and standard deviation 1 and back.

    A channel that never changes (std 0) becomes 0, and comes back as its mean whatever the network says.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Float[Tensor, " channel"], std: Float[Tensor, " channel"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.to(torch.float32))
        self.register_buffer("std", std.to(torch.float32))

    @classmethod
    def identity(cls, channels: int) -> "Normaliser":
        """Return the normaliser that changes nothing."""
        return cls(torch.zeros(channels), torch.ones(channels))

    def normalise(self, field: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Return (field - mean) / std."""
        return (field - self.mean) / self.std.where(self.std > 0, 1.0)

    def denormalise(self, field: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Return field · std + mean."""
        return torch.addcmul(self.mean, field, self.std)
