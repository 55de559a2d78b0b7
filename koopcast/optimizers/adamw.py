"""Adam with decoupled weight decay."""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn

from koopcast.optimizers.base import OptimizerSpec

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamWSpec(OptimizerSpec):
    """Steps along the mean gradient over its root mean square; weights shrink apart from the gradient."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 5e-3
    """Peak learning rate, reached where the schedule's factor is 1."""
    weight_decay: NonNegativeFloat = 1e-4
    """Shrinkage of the weights a step, in units of the learning rate."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Memory of the mean gradient and of its square."""
    epsilon: PositiveFloat = 1e-8
    """Added to the root mean square."""

    reference = "Loshchilov and Hutter 2019"

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's fused form: one pass over parameters and moments."""
        return torch.optim.AdamW(
            parameters,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            fused=True,
        )
