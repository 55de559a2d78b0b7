"""Dictionaries: observables beside the coordinates, in which the dynamics may be linear."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.spec import MethodSpec


class DictionarySpec(MethodSpec):
    """Options of a dictionary. It always holds the coordinates u themselves; `lift` gives what comes after
    them.
    """

    @abstractmethod
    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the tensors that `lift` needs, chosen from the training data."""

    @abstractmethod
    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Return the observables beside the coordinates; the first is the constant 1 where there are any."""

    @abstractmethod
    def num_observables(self, num_coordinates: int) -> int:
        """Return how many observables `lift` gives."""
