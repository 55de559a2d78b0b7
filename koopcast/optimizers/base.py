"""Optimizers: torch optimizers by name; the schedule multiplies their learning rate."""

from abc import abstractmethod
from collections.abc import Iterable

import torch
from pydantic import PositiveFloat
from torch import nn

from koopcast.spec import MethodSpec


class OptimizerSpec(MethodSpec):
    """Options of an optimizer."""

    learning_rate: PositiveFloat
    """Peak learning rate, reached where the schedule's factor is 1."""

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer of real-valued parameters; all its state is in tensors."""
