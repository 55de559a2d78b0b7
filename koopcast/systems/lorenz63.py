"""Lorenz's three-variable convection model."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import AnyArray, normal, stacked
from koopcast.systems.base import EvolvingSpec


class Lorenz63Spec(EvolvingSpec):
    """Lorenz-63: x' = σ(y - x), y' = x(ρ - z) - y, z' = xy - βz."""

    kind: Literal["lorenz63"] = "lorenz63"
    sigma: PositiveFloat = 10.0
    """Prandtl number σ."""
    rho: PositiveFloat = 28.0
    """Relative Rayleigh number ρ; chaotic at 28."""
    beta: PositiveFloat = 8.0 / 3.0
    """Geometric factor β."""

    reference = "Lorenz 1963, Deterministic nonperiodic flow, J. Atmos. Sci. 20"

    def describe(self) -> FieldsInfo:
        """Return an axis of three components."""
        return FieldsInfo(
            {"X": "1"}, (Axis("state", 3, geometry="index"),), TimeAxis(1, self.default_time_step())
        )

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return the three rates of change."""
        return Tendency(self._tendency, takes_arrays=True)

    def _tendency(self, state: AnyArray) -> AnyArray:
        x, y, z = state[..., 0], state[..., 1], state[..., 2]
        return stacked((self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z))

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 3 1"]:
        """Draw around (0, 0, ρ - 1), between the two wings, with standard deviation 1."""
        centre = torch.tensor([[0.0], [0.0], [self.rho - 1]], device=generator.device, dtype=torch.float64)
        return centre + normal(count, 3, 1, generator=generator)

    def default_time_step(self) -> float:
        """Return the 0.01 of the literature: an error of 2e-5 over one Lyapunov time."""
        return 0.01

    def spin_up_time(self) -> float:
        """Return 16."""
        return 16.0

    def lyapunov_time(self) -> float:
        """Return 1.1, for the leading exponent 0.91."""
        return 1.1
