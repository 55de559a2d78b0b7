"""Lorenz's ring of coupled cells."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.dynamics import Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import AnyArray, Ring
from koopcast.systems.base import SystemSpec


class Lorenz96Spec(SystemSpec):
    """Lorenz-96: x_k' = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F on a ring."""

    kind: Literal["lorenz96"] = "lorenz96"
    points: int = Field(40, ge=4)
    """Cells of the ring."""
    forcing: float = 8.0
    """Forcing F; chaotic at 8."""

    reference = "Lorenz 1996, Predictability: a problem partly solved; Lorenz and Emanuel 1998"

    def describe(self) -> FieldsInfo:
        axis = Axis("state", self.points, geometry="index", periodic=True)
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, device: torch.device) -> Tendency:
        ring, forcing = Ring(1, -1, -2), self.forcing

        def tendency(x: AnyArray) -> AnyArray:
            after, before, second = ring.neighbours(x)
            rate = (after - second) * before
            rate -= x
            rate += forcing
            return rate

        return Tendency(tendency, takes_arrays=True)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw around the steady state x_k = F with standard deviation 1."""
        shape = (count, self.points, 1)
        return self.forcing + torch.randn(
            shape, generator=generator, device=generator.device, dtype=torch.float64
        )

    def default_time_step(self) -> float:
        return 0.05

    def spin_up_time(self) -> float:
        return 20.0

    def lyapunov_time(self) -> float:
        return 0.6
