"""Operators whose network is found in closed form: one regression over all pairs instead of a training."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.operators.base import OperatorSpec


@dataclass(frozen=True)
class Examples:
    """What a network is given and should return, normalised, frames as channels."""

    inputs: Float[Tensor, "pair *space channel_in"]
    outputs: Float[Tensor, "pair *space channel_out"]
    weights: Float[Tensor, " pair"] | None = None
    """What each pair counts in the fit; None: all the same."""


class FittedOperatorSpec(OperatorSpec):
    """Options of an operator that is fitted. `build` returns the network unfitted."""

    is_trained_by_gradient = False

    @abstractmethod
    def fit_network(
        self, network: nn.Module, train: Examples, valid: Examples | None, generator: torch.Generator
    ) -> Mapping[str, float | int | str]:
        """Fit the network that `build` made to all pairs of the training part; return facts for the card.

        Args:
            network: Changed in place.
            train: Pairs to fit.
            valid: Pairs to choose options by; None where the data have no `valid` part.
            generator: Of whatever is drawn.
        """
