"""A field that is the same everywhere."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.grids import Axis
from koopcast.random_fields.base import RandomFieldSpec


class ConstantSpec(RandomFieldSpec):
    """One value everywhere; nothing is drawn."""

    kind: Literal["constant"] = "constant"
    value: float = 1.0
    """The value."""

    reference = "The simplest source of elliptic benchmarks: f = 1"

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Return the value at every node."""
        shape = (count, *(axis.size for axis in axes))
        return torch.full(shape, self.value, dtype=torch.float64, device=generator.device)
