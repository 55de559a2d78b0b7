"""Travelling waves whose amplitude relaxes to a limit cycle."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Complex, Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Flow, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import uniform


class LimitCycleWavesSpec(EvolvingSpec):
    """u(x, t) = Σ_h rʰ cos(h(x - φ)) / h over the harmonics h, with r' = μ r (1 - r²) / 2 and φ' = ω.

    Radius and phase are read from the first harmonic of a field, so that every field has a next one. With
    w = r e^{iφ} the Koopman eigenvalues over a time t are e^{(ikω - mμ)t}, m = 0, 1, ..., of the functions
    e^{ikφ} (1 - r⁻²)ᵐ.
    """

    kind: Literal["limit_cycle_waves"] = "limit_cycle_waves"
    points: int = Field(64, ge=4)
    """Points of the circle."""
    harmonics: PositiveInt = 4
    """Harmonics of a wave."""
    frequency: PositiveFloat = 1.0
    """Angular velocity ω."""
    relaxation: NonNegativeFloat = 0.5
    """Rate μ at which the amplitude comes to 1."""
    radius: tuple[PositiveFloat, PositiveFloat] = (0.4, 1.6)
    """Range of the first radius; phases are uniform."""
    noise: NonNegativeFloat = 0.0
    """Standard deviation of white noise that each step adds to the field; the next step keeps what it does to
    the first harmonic."""

    reference = "normal form of a Hopf bifurcation, Stuart 1960; its Koopman spectrum: Mezić 2020"
    varied: ClassVar[tuple[str, ...]] = ("frequency", "relaxation")

    @model_validator(mode="after")
    def _waves_are_resolved(self) -> "LimitCycleWavesSpec":
        if 2 * self.harmonics >= self.points:
            raise ValueError(
                f"harmonics: {self.harmonics} waves need more than {2 * self.harmonics} points, and there "
                f"are {self.points}; lower harmonics"
            )
        if self.radius[0] > self.radius[1]:
            raise ValueError(
                f"radius: {self.radius[0]:g} is above {self.radius[1]:g}; give the lower end first"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return the circle."""
        axis = Axis("x", self.points, periodic=True, length=2 * math.pi)
        keeps = frozenset({"exact_solution", "exact_spectrum"}) if self.noise == 0 else frozenset()
        return FieldsInfo({"u": "1"}, (axis,), TimeAxis(1, self.default_time_step()), properties=keeps)

    def problem(self, setting: Setting = ON_CPU) -> Flow:
        """Return the flow in closed form."""
        omega, mu = (self._rate(setting, name) for name in self.varied)

        def advance(state: Float[Tensor, "*batch state"], time: float) -> Float[Tensor, "*batch state"]:
            r, phase = self.polar(state)
            # r² = 1 / (1 + (r₀⁻² - 1) e^{-μt})
            decay = torch.exp(-torch.as_tensor(mu * time, dtype=r.dtype, device=r.device))
            after = (1 + (r.clamp_min(torch.finfo(r.dtype).tiny ** 0.25) ** -2 - 1) * decay) ** -0.5
            return self.waves(after, phase + omega * time)

        return Flow(advance)

    def _rate(self, setting: Setting, name: str) -> float | Float[Tensor, " batch"]:
        return setting.value(name, float(getattr(self, name)), 0)

    def polar(
        self, field: Float[Tensor, "*batch state"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """Return radius and phase of the first harmonic."""
        first: Complex[Tensor, "*batch"] = torch.fft.rfft(field)[..., 1] * (2 / self.points)
        return first.abs(), -first.angle()

    def waves(
        self, radius: Float[Tensor, "*batch"], phase: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch state"]:
        """Return the fields of given radius and phase."""
        x = 2 * math.pi * torch.arange(self.points, dtype=radius.dtype, device=radius.device) / self.points
        h = torch.arange(1, self.harmonics + 1, dtype=radius.dtype, device=radius.device)
        size = radius[..., None] ** h / h
        return (size[..., None, :] * torch.cos((x - phase[..., None])[..., None] * h)).sum(-1)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count x 1"]:
        """Draw radius and phase."""
        low, high = self.radius
        radius = low + (high - low) * uniform(count, generator=generator)
        phase = 2 * math.pi * uniform(count, generator=generator)
        return self.waves(radius, phase)[..., None]

    def disturbed(
        self, state: Float[Tensor, "*batch state"], generator: torch.Generator
    ) -> Float[Tensor, "*batch state"]:
        """Return the field with the noise of one step."""
        draws = torch.randn(state.shape, generator=generator, dtype=torch.float64, device=generator.device)
        return state + self.noise * draws.to(state)

    def is_disturbed(self) -> bool:
        """Return whether there is noise."""
        return self.noise > 0

    def exact(self, initial: Float[Tensor, "batch x 1"], time: float) -> Float[Tensor, "batch x 1"] | None:
        """Return the fields a time later, without noise."""
        return self.problem().advance(initial[..., 0], time)[..., None] if self.noise == 0 else None

    def eigenvalues(self, time: float, turns: int, orders: int) -> Complex[Tensor, "order turn"]:
        """Return e^{(ikω - mμ) time} for m = 0..orders and k = -turns..turns."""
        k = torch.arange(-turns, turns + 1, dtype=torch.float64)
        m = torch.arange(orders + 1, dtype=torch.float64)[:, None]
        size = torch.exp(-m * self.relaxation * time)
        return torch.polar(size.expand(-1, len(k)), (k * self.frequency * time).expand(len(m), -1))

    def default_time_step(self) -> float:
        """Return 0.2, about 30 steps a turn."""
        return 0.2

    def default_integrator(self) -> str:
        """Return the flow itself."""
        return "exact"

    def lyapunov_time(self) -> float:
        """Return the time of one turn: nothing grows."""
        return 2 * math.pi / self.frequency

    def invariants(
        self, fields: Float[Tensor, "batch x 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the mean, which is 0, where there is no noise."""
        return {} if self.noise else {"mean": fields.mean(dim=(1, 2))}
