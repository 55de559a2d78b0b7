"""Lorenz's three-variable convection model."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.dynamics import Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import AnyArray, stacked
from koopcast.systems.base import SystemSpec


class Lorenz63Spec(SystemSpec):
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
        return FieldsInfo(
            {"X": "1"}, (Axis("state", 3, geometry="index"),), TimeAxis(1, self.default_time_step())
        )

    def problem(self, device: torch.device) -> Tendency:
        """Return the three rates of change."""
        return Tendency(self._tendency, takes_arrays=True)

    def _tendency(self, state: AnyArray) -> AnyArray:
        x, y, z = state[..., 0], state[..., 1], state[..., 2]
        return stacked((self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z))

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 3 1"]:
        """Draw around (0, 0, ρ - 1), between the two wings, with standard deviation 1."""
        noise = torch.randn(count, 3, 1, generator=generator, device=generator.device, dtype=torch.float64)
        return (
            noise
            + torch.tensor([0.0, 0.0, self.rho - 1], device=generator.device, dtype=torch.float64)[:, None]
        )

    def default_time_step(self) -> float:
        return 0.01

    def spin_up_time(self) -> float:
        return 16.0

    def lyapunov_time(self) -> float:
        return 1.1
