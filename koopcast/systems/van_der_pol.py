"""Van der Pol's oscillator."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import AnyArray, stacked
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient, uniform


class VanDerPolSpec(EvolvingSpec):
    """Van der Pol: x' = y, y' = μ(1 - x²)y - x, whose states all reach one limit cycle where μ > 0."""

    kind: Literal["van_der_pol"] = "van_der_pol"
    mu: NonNegativeFloat = 1.0
    """Nonlinear damping μ: 0 a harmonic oscillator, large a relaxation oscillator."""
    extent: PositiveFloat = 3.0
    """Initial states are uniform in the square [-extent, extent]²."""

    reference = "van der Pol 1926, On relaxation-oscillations, Phil. Mag. 2"
    varied: ClassVar[tuple[str, ...]] = ("mu",)

    def describe(self) -> FieldsInfo:
        """Return an axis of position and velocity."""
        axis = Axis("state", 2, geometry="index")
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return the two rates of change."""
        mu = coefficient(self, setting, "mu")

        def tendency(state: AnyArray) -> AnyArray:
            x, y = state[..., 0], state[..., 1]
            return stacked((y, mu * (1 - x * x) * y - x))

        return Tendency(tendency, takes_arrays=not setting.parameters)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 2 1"]:
        """Draw uniformly in a square."""
        return self.extent * (2 * uniform(count, 2, 1, generator=generator) - 1)

    def default_time_step(self) -> float:
        """Return 0.05, shortened as the jumps of the relaxation oscillator steepen."""
        return 0.05 / max(1.0, self.mu)

    def spin_up_time(self) -> float:
        """Return 30, or 3 periods of a slow relaxation oscillator."""
        return max(30.0, 3 * self.lyapunov_time())

    def lyapunov_time(self) -> float:
        """Return one period: 2π for small μ, (3 - 2 ln 2) μ for large."""
        return 2 * math.pi + (3 - 2 * math.log(2)) * self.mu

    def invariants(
        self, fields: Float[Tensor, "batch 2 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the energy where nothing damps."""
        if self.mu != 0 or "mu" in setting.parameters:
            return {}
        return {"energy": fields.square().sum(dim=(1, 2)) / 2}
