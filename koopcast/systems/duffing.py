"""Duffing's oscillator: a double well, with damping and a periodic force where asked for."""

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
from koopcast.spec import Spec
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient, uniform


class PeriodicForce(Spec):
    """A force γ cos φ with φ' = Ω; each sample starts at a phase of its own."""

    amplitude: PositiveFloat = 0.5
    """Strength γ."""
    frequency: PositiveFloat = 1.2
    """Angular frequency Ω."""


class DuffingSpec(EvolvingSpec):
    """Duffing: y' = v, v' = -δv - αy - βy³ + γ cos φ; by default the double well y' = v, v' = y - y³.

    A force makes the state (y, v, cos φ, sin φ): the equation is then autonomous, the phase has no jump at
    2π, and the right-hand side is a polynomial of the state.
    """

    kind: Literal["duffing"] = "duffing"
    damping: NonNegativeFloat = 0.0
    """Damping δ."""
    stiffness: float = -1.0
    """Linear stiffness α; negative: two wells where β > 0."""
    hardening: float = 1.0
    """Cubic stiffness β."""
    force: PeriodicForce | None = None
    """Periodic force; with δ = 0.3 the default one drives the double well to chaos."""
    extent: PositiveFloat = 2.0
    """Initial position and velocity are uniform in the square [-extent, extent]²."""

    reference = "Duffing 1918; unforced set-up of Colbrook and Townsend 2024 (residual DMD)"
    varied: ClassVar[tuple[str, ...]] = ("damping", "stiffness", "hardening")

    def describe(self) -> FieldsInfo:
        """Return an axis of position and velocity, and the two components of the phase of a force."""
        axis = Axis("state", 2 if self.force is None else 4, geometry="index")
        keeps_area = frozenset({"measure_preserving"}) if self.damping == 0 else frozenset()
        time = TimeAxis(1, self.default_time_step())
        return FieldsInfo({"X": "1"}, (axis,), time, properties=keeps_area)

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return the rates of change."""
        delta, alpha, beta = (coefficient(self, setting, name) for name in self.varied)
        gamma, omega = (0.0, 0.0) if self.force is None else (self.force.amplitude, self.force.frequency)

        def tendency(state: AnyArray) -> AnyArray:
            y, v = state[..., 0], state[..., 1]
            rate = -delta * v - (alpha + beta * (y * y)) * y
            if self.force is None:
                return stacked((v, rate))
            cosine, sine = state[..., 2], state[..., 3]
            return stacked((v, rate + gamma * cosine, -omega * sine, omega * cosine))

        return Tendency(tendency, takes_arrays=not setting.parameters)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count state 1"]:
        """Draw position and velocity uniformly in a square, and the phase on its circle."""
        place = self.extent * (2 * uniform(count, 2, 1, generator=generator) - 1)
        if self.force is None:
            return place
        phase = 2 * math.pi * uniform(count, 1, 1, generator=generator)
        return torch.cat((place, phase.cos(), phase.sin()), dim=1)

    def default_time_step(self) -> float:
        """Return 0.05; the 0.25 of the literature is `record_every: 5`."""
        return 0.05

    def lyapunov_time(self) -> float:
        """Return 5, about one swing in a well."""
        return 5.0

    def invariants(
        self, fields: Float[Tensor, "batch state 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the Hamiltonian v²/2 + αy²/2 + βy⁴/4 of the free oscillator, or the radius of the phase.

        Where damping differs from sample to sample, nothing is kept by all.
        """
        if self.force is not None:
            return {"phase_radius": fields[:, 2:].square().sum(dim=(1, 2)).sqrt()}
        if self.damping != 0 or "damping" in setting.parameters:
            return {}
        y, v = fields[:, 0, 0], fields[:, 1, 0]
        alpha, beta = (coefficient(self, setting, name) for name in ("stiffness", "hardening"))
        return {"energy": v.square() / 2 + alpha * y.square() / 2 + beta * y.pow(4) / 4}
