"""Two rods with a mass at the end of each, hung one from the other."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import AnyArray, normal, stacked
from koopcast.spec import Spec
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient


class PendulumStart(Spec):
    """Angles and angular velocities at the start, and how far they scatter."""

    angles: tuple[float, float] = (math.pi / 2, math.pi / 2)
    """Angles of both rods from the vertical, in radians; horizontal by default, high enough for chaos."""
    velocities: tuple[float, float] = (0.0, 0.0)
    """Angular velocities of both rods."""
    spread: NonNegativeFloat = 0.1
    """Standard deviation of normal departures from these four numbers."""


class DoublePendulumSpec(EvolvingSpec):
    """Double pendulum without friction: state (θ₁, θ₂, ω₁, ω₂), the angles from the vertical, not wrapped.

    θ' = ω; with Δ = θ₁ - θ₂ and D = 2m₁ + m₂ - m₂ cos 2Δ,
    ℓ₁D ω₁' = -g(2m₁ + m₂) sin θ₁ - m₂g sin(θ₁ - 2θ₂) - 2m₂ sin Δ (ℓ₂ω₂² + ℓ₁ω₁² cos Δ),
    ℓ₂D ω₂' = 2 sin Δ ((m₁ + m₂)(ℓ₁ω₁² + g cos θ₁) + m₂ℓ₂ω₂² cos Δ).
    """

    kind: Literal["double_pendulum"] = "double_pendulum"
    mass_upper: PositiveFloat = 1.0
    """Mass m₁ at the end of the upper rod."""
    mass_lower: PositiveFloat = 1.0
    """Mass m₂ at the end of the lower rod."""
    length_upper: PositiveFloat = 1.0
    """Length ℓ₁ of the upper rod."""
    length_lower: PositiveFloat = 1.0
    """Length ℓ₂ of the lower rod."""
    gravity: PositiveFloat = 9.81
    """Acceleration g."""
    initial_state: PendulumStart = PendulumStart()
    """Where the rods are let go."""

    reference = "Shinbrot et al. 1992, Chaos in a double pendulum, Am. J. Phys. 60"
    varied: ClassVar[tuple[str, ...]] = (
        "mass_upper",
        "mass_lower",
        "length_upper",
        "length_lower",
        "gravity",
    )

    def describe(self) -> FieldsInfo:
        """Return an axis of two angles and two angular velocities."""
        axis = Axis("state", 4, geometry="index")
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return the four rates of change."""
        m1, m2, l1, l2, g = (coefficient(self, setting, name) for name in self.varied)

        def tendency(state: AnyArray) -> AnyArray:
            first, second, w1, w2 = (state[..., index] for index in range(4))
            sine, cosine = _sine(first - second), _cosine(first - second)
            D = 2 * (m1 + m2 * sine * sine)  # 2m₁ + m₂ - m₂ cos 2Δ
            v1, v2 = l1 * w1 * w1, l2 * w2 * w2
            fall = g * ((2 * m1 + m2) * _sine(first) + m2 * _sine(first - 2 * second))
            rate1 = -(fall + 2 * m2 * sine * (v2 + v1 * cosine)) / (l1 * D)
            rate2 = 2 * sine * ((m1 + m2) * (v1 + g * _cosine(first)) + m2 * v2 * cosine) / (l2 * D)
            return stacked((w1, w2, rate1, rate2))

        return Tendency(tendency, takes_arrays=not setting.parameters)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 4 1"]:
        """Draw around the stated angles and velocities."""
        start = self.initial_state
        centre = torch.tensor(
            (*start.angles, *start.velocities), device=generator.device, dtype=torch.float64
        )
        return centre[:, None] + start.spread * normal(count, 4, 1, generator=generator)

    def default_time_step(self) -> float:
        """Return 0.005 for a rod of 1 m on Earth, less for a shorter rod or a stronger pull."""
        shortest = min(self.length_upper, self.length_lower)
        return float(f"{0.005 * math.sqrt(9.81 * shortest / self.gravity):.3g}")

    def lyapunov_time(self) -> float:
        """Return 1.3, for an exponent near 0.77 at the default start."""
        return 1.3

    def invariants(
        self, fields: Float[Tensor, "batch 4 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return kinetic plus potential energy."""
        m1, m2, l1, l2, g = (coefficient(self, setting, name) for name in self.varied)
        first, second, w1, w2 = fields[..., 0].unbind(dim=1)
        kinetic = (m1 + m2) * (l1 * w1) ** 2 / 2 + m2 * (l2 * w2) ** 2 / 2
        kinetic = kinetic + m2 * l1 * l2 * w1 * w2 * torch.cos(first - second)
        potential = -(m1 + m2) * g * l1 * torch.cos(first) - m2 * g * l2 * torch.cos(second)
        return {"energy": kinetic + potential}


def _sine(x: AnyArray) -> AnyArray:
    return torch.sin(x) if isinstance(x, Tensor) else np.asarray(np.sin(x))


def _cosine(x: AnyArray) -> AnyArray:
    return torch.cos(x) if isinstance(x, Tensor) else np.asarray(np.cos(x))
