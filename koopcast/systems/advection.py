"""The advection equation on a periodic interval, by its exact solution."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Flow, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.wave_sum import WaveSumSpec
from koopcast.systems.base import EvolvingSpec


class AdvectionSpec(EvolvingSpec):
    """Advection: u_t + β u_x = 0, periodic; u(x, t) = u(x - β t, 0)."""

    kind: Literal["advection"] = "advection"
    beta: float = 1.0
    """Speed β; PDEBench has 0.1, 0.2, 0.4, 1, 2 and 4."""
    length: PositiveFloat = 1.0
    """Length of the domain."""
    points: int = Field(1024, ge=8)
    """Grid points; where they are even, the mode between two of them is left out of initial fields."""
    initial_state: AnyRandomField = WaveSumSpec()
    """Law of initial fields. What moves is the trigonometric interpolant of the values at the points:
    exactly, with the ripples that kinks and jumps have on a grid."""

    varied: ClassVar[tuple[str, ...]] = ("beta",)
    reference = "Takamoto et al. 2022, PDEBench, 1D advection; there by a finite-volume scheme"

    @model_validator(mode="after")
    def _initial_state_fits(self) -> "AdvectionSpec":
        if (fault := self.initial_state.fault(self.describe().axes)) is not None:
            raise ValueError(f"initial_state: {fault}")
        return self

    def describe(self) -> FieldsInfo:
        """Return one periodic axis `x`."""
        axis = Axis("x", self.points, periodic=True, length=self.length)
        return FieldsInfo(
            {"u": "1"},
            (axis,),
            TimeAxis(1, self.default_time_step()),
            properties=frozenset({"exact_solution"}),
        )

    def problem(self, setting: Setting = ON_CPU) -> Flow:
        """Return the shift by β t: of mode k the phase -k β t.

        A field has of the Nyquist mode only what its points see, the cosine. Shifted, that is a cosine times
        cos(kβt), whose smaller part cannot be shifted back; so initial fields do without it.
        """
        beta = setting.value("beta", self.beta)
        k = torch.arange(self.points // 2 + 1, device=setting.device, dtype=torch.float64)
        k = k * (2 * math.pi / self.length)

        def advance(state: Float[Tensor, "*batch points"], time: float) -> Float[Tensor, "*batch points"]:
            turn = -k * (beta * time)
            phase = torch.complex(turn.cos(), turn.sin()).to(setting.complex_dtype)
            spectrum = torch.fft.rfft(state.to(setting.dtype)) * phase
            shifted: Tensor = torch.fft.irfft(spectrum, n=self.points)
            return shifted

        return Flow(advance)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw fields and take the Nyquist mode from them."""
        drawn = self.initial_state.draw(self.describe().axes, count, generator)
        spectrum: Tensor = torch.fft.rfft(drawn)
        if self.points % 2 == 0:
            spectrum[:, -1] = 0.0
        fields: Tensor = torch.fft.irfft(spectrum, n=self.points)
        return fields[..., None]

    def exact(self, initial: Float[Tensor, "batch points 1"], time: float) -> Float[Tensor, "batch points 1"]:
        """Return the fields shifted by β times the time."""
        return self.problem().advance(initial[..., 0], time)[..., None]

    def default_time_step(self) -> float:
        """Return the 0.01 between the records of PDEBench; no other is more accurate."""
        return 0.01

    def lyapunov_time(self) -> float:
        """Return the time in which the domain is crossed; errors do not grow."""
        return self.length / max(abs(self.beta), 1e-12)

    def default_integrator(self) -> str:
        """Return the method of exact solutions."""
        return "exact"

    def invariants(
        self, fields: Float[Tensor, "batch points 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the mean and the mean square."""
        return {"mean": fields.mean(dim=(1, 2)), "mean_square": fields.square().mean(dim=(1, 2))}
