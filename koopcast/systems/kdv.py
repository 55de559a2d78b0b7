"""The Korteweg-de Vries equation on a periodic interval."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.fourier import Dealias, PeriodicLine
from koopcast.systems.base import EvolvingSpec


class KdVSpec(EvolvingSpec):
    """Korteweg-de Vries: u_t + u u_x + δ² u_xxx = 0, periodic."""

    kind: Literal["kdv"] = "kdv"
    delta: PositiveFloat = 0.022
    """Dispersion δ; 0.022 is that of Zabusky and Kruskal."""
    length: PositiveFloat = 2.0
    """Length L of the domain."""
    points: int = Field(256, ge=8, multiple_of=2)
    """Grid points, even."""
    dealias: Dealias = "2/3"
    """Share of the modes that products keep."""
    initial_state: Literal["solitons", "cosine"] = "solitons"
    """Solitons 3c sech²(√c/(2δ) (x - x₀)) at random places, added up, or cos(2πx/L), moved by a random
    distance."""
    solitons: PositiveInt = 1
    """Solitons of a field; of one alone the exact solution is known."""
    slowest: PositiveFloat = 0.25
    """Lowest speed c that is drawn for a soliton."""
    fastest: PositiveFloat = 0.5
    """Highest speed c that is drawn for a soliton."""

    reference = "Korteweg and de Vries 1895; initial states as in Zabusky and Kruskal 1965"

    @model_validator(mode="after")
    def _solitons_fit(self) -> "KdVSpec":
        if self.slowest > self.fastest:
            raise ValueError(f"slowest: {self.slowest:g} is above fastest, {self.fastest:g}; lower it")
        # Half a period away the slowest soliton must have fallen below 1e-8 of its height.
        needed = 2 * self.delta * math.log(4e8) / math.sqrt(self.slowest)
        if self.initial_state == "solitons" and self.length < needed:
            raise ValueError(
                f"length: {self.length:g} is below {needed:.3g}, the room that a soliton of speed "
                f"{self.slowest:g} needs; raise length or slowest, or lower delta"
            )
        return self

    def _line(self, setting: Setting = ON_CPU) -> PeriodicLine:
        return PeriodicLine(self.points, self.length, self.dealias, setting)

    def describe(self) -> FieldsInfo:
        """Return one periodic axis `x`."""
        axis = Axis("x", self.points, periodic=True, length=self.length)
        return FieldsInfo({"u": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Semilinear:
        """Return L = i δ² k³ and N(v) = -(ik/2) F[(F⁻¹v)²]."""
        line = self._line(setting)
        return line.semilinear(1j * self.delta**2 * line.wave_numbers**3)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw places and speeds, and return the fields with the modes that dealiasing keeps."""
        drawn = torch.rand(
            2, count, self.solitons, generator=generator, device=generator.device, dtype=torch.float64
        )
        place = torch.arange(self.points, device=generator.device, dtype=torch.float64)
        place *= self.length / self.points
        distance = place - self.length * drawn[0, ..., None]
        if self.initial_state == "cosine":
            fields = torch.cos(2 * math.pi / self.length * distance[:, 0])
        else:
            speed = self.slowest + (self.fastest - self.slowest) * drawn[1, ..., None]
            # Images on either side make the field periodic.
            images = (self._soliton(distance + shift * self.length, speed) for shift in (-1, 0, 1))
            fields = sum(images, torch.zeros_like(distance)).sum(dim=1)
        line = self._line(Setting(generator.device))
        return line.to_physical(line.to_spectral(fields[..., None]))

    def _soliton(self, distance: Tensor, speed: Tensor) -> Tensor:
        return 3 * speed / torch.cosh(speed.sqrt() / (2 * self.delta) * distance).square()

    def default_time_step(self) -> float:
        """Return 1e-3: an error below 1e-6 over one unit of time for solitons of speeds up to 1/2."""
        return 1e-3

    def lyapunov_time(self) -> float:
        """Return 1: the flow is integrable, and errors grow no faster than time."""
        return 1.0

    def default_integrator(self) -> str:
        """Return the method for stiff semilinear equations."""
        return "etdrk4"

    def invariants(
        self, fields: Float[Tensor, "batch points 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return mass ∫u, momentum ∫u² and energy ∫(δ² u_x²/2 - u³/6)."""
        u, line = fields[..., 0].double(), self._line(Setting(fields.device))
        slope = torch.fft.irfft(1j * line.wave_numbers * torch.fft.rfft(u), n=self.points)
        densities = {"mass": u, "momentum": u**2, "energy": self.delta**2 * slope**2 / 2 - u**3 / 6}
        return {name: self.length * density.mean(dim=1) for name, density in densities.items()}

    def exact(
        self, initial: Float[Tensor, "batch points 1"], time: float
    ) -> Float[Tensor, "batch points 1"] | None:
        """Return single solitons moved by c t, with c from their mass 12 δ √c; None for other fields."""
        if self.initial_state != "solitons" or self.solitons > 1:
            return None
        speed = (self.invariants(initial)["mass"] / (12 * self.delta)).square()
        k = self._line(Setting(initial.device)).wave_numbers
        turned = torch.fft.rfft(initial[..., 0].double()) * torch.exp(-1j * k * (speed * time)[:, None])
        fields: Tensor = torch.fft.irfft(turned, n=self.points)
        return fields[..., None]

    def tail_energy(self, fields: Float[Tensor, "batch points 1"]) -> Float[Tensor, " batch"]:
        """Return the share of energy in the highest tenth of the modes that dealiasing keeps."""
        return self._line().tail_energy(fields)
