"""Lorenz's ring of coupled cells."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import AnyArray, Ring, normal
from koopcast.systems.base import EvolvingSpec


class Lorenz96Spec(EvolvingSpec):
    """Lorenz-96: x_k' = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F on a ring."""

    kind: Literal["lorenz96"] = "lorenz96"
    points: int = Field(40, ge=4)
    """Cells of the ring."""
    forcing: float = 8.0
    """Forcing F; chaotic at 8."""

    reference = "Lorenz 1996, Predictability: a problem partly solved; Lorenz and Emanuel 1998"

    def describe(self) -> FieldsInfo:
        """Return a periodic axis whose unit is one cell."""
        axis = Axis("state", self.points, geometry="index", periodic=True)
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return the tendency."""
        ring, forcing = Ring(1, -1, -2), self.forcing

        def tendency(x: AnyArray) -> AnyArray:
            after, before, second = ring.neighbours(x)
            rate: AnyArray = (after - second) * before
            rate -= x
            rate += forcing
            return rate

        return Tendency(tendency, takes_arrays=True)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw around the steady state x_k = F with standard deviation 1."""
        return self.forcing + normal(count, self.points, 1, generator=generator)

    def default_time_step(self) -> float:
        """Return the 0.05 of the literature: an error of 1e-3 over one Lyapunov time."""
        return 0.05

    def spin_up_time(self) -> float:
        """Return 20."""
        return 20.0

    def lyapunov_time(self) -> float:
        """Return 0.6, for the leading exponent 1.7."""
        return 0.6
