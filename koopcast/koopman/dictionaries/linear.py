"""The coordinates alone: dynamic mode decomposition in a reduced space."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.koopman.dictionaries.base import DictionarySpec


class LinearSpec(DictionarySpec):
    """The coordinates and nothing else."""

    kind: Literal["linear"] = "linear"

    reference = "Schmid 2010"

    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Need nothing."""
        return {}

    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Add nothing."""
        return coordinates[:, :0]

    def num_observables(self, num_coordinates: int) -> int:
        """Return 0."""
        return 0
