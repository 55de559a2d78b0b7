"""Inversion: the input field of a map from noisy values of its output at a few places.

Words of the family: *observed* values of the output, *posterior* what they say of the input.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.models import MapModel
from koopcast.spec import MethodSpec


@dataclass(frozen=True)
class Observed:
    """Values of the output at nodes of the grid, the same ones for several samples."""

    shape: tuple[int, int]
    nodes: Int[Tensor, " obs"]
    """Places in the flattened grid."""
    values: Float[Tensor, "sample obs"]
    std: Float[Tensor, " sample"]
    """Standard deviation of the errors."""

    def coordinates(self) -> Float[Tensor, "obs 2"]:
        """Return the places in the unit square."""
        rows, columns = self.shape
        y, x = self.nodes // columns / (rows - 1), self.nodes % columns / (columns - 1)
        return torch.stack([y, x], dim=-1).to(self.values.dtype)


@dataclass(frozen=True)
class Posterior:
    """What is known of the input afterwards, and of the whole output."""

    mean: Float[Tensor, "sample y x"]
    solution: Float[Tensor, "sample y x"]
    std: Float[Tensor, "sample y x"] | None = None
    """None for a method that states no uncertainty."""


@runtime_checkable
class LatentDecoder(Protocol):
    """A network that decodes input and output of a map from one latent vector, between -1 and 1."""

    latent_mean: Tensor
    latent_square: Tensor

    def nodes(self, like: Tensor) -> Float[Tensor, "point 2"]:
        """Return the coordinates of the grid."""

    def solution_at(
        self, beta: Float[Tensor, "batch latent"], points: Float[Tensor, "point 2"]
    ) -> Float[Tensor, "batch point"]:
        """Return the output at places."""

    def logit_at(
        self, beta: Float[Tensor, "batch latent"], points: Float[Tensor, "point 2"]
    ) -> Float[Tensor, "batch point"]:
        """Return what decides on the input at places."""

    def coefficient_of(self, logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the mean of the input."""

    def spread_of(self, logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the standard deviation of the input where the latent vector is known."""

    def residual(
        self,
        beta: Float[Tensor, "batch latent"],
        coefficient: Float[Tensor, "batch y x"] | None,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Return the mean square of what the equation leaves, of the decoded input where none is given."""


class InversionSpec(MethodSpec):
    """Options of a method that infers inputs from observed outputs."""

    @abstractmethod
    def invert(self, model: MapModel, observed: Observed, generator: torch.Generator) -> Posterior:
        """Return what the observations say of each sample.

        Raises:
            InvalidInput: The model is not of the kind that the method needs.
        """
