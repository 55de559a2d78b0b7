"""The Kuramoto-Sivashinsky equation on a periodic interval."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Complex, Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import normal
from koopcast.numerics.fourier import kept_modes, quadratic_flux, spectral_maps
from koopcast.spec import Spec
from koopcast.systems.base import EvolvingSpec


class RandomCosines(Spec):
    """Initial fields Σ_m a_m cos(2π m x / L + φ_m): mean zero, random amplitudes and phases."""

    modes: PositiveInt = 4
    """Wave numbers 1..modes of the domain."""
    amplitude: PositiveFloat = 1.0
    """Standard deviation of the field in space, on average."""


class KuramotoSivashinskySpec(EvolvingSpec):
    """Kuramoto-Sivashinsky: u_t + u u_x + u_xx + u_xxxx = 0, periodic."""

    kind: Literal["kuramoto_sivashinsky"] = "kuramoto_sivashinsky"
    length: PositiveFloat = 22.0
    """Length L of the domain: 22 low-dimensional chaos; 64, 100, 32π more of it."""
    points: int = Field(64, ge=8, multiple_of=2)
    """Grid points, even."""
    initial_state: RandomCosines = RandomCosines()
    """How initial fields are drawn."""

    reference = "Kuramoto 1978; Sivashinsky 1977; form and numerics as in Kassam and Trefethen 2005"

    @model_validator(mode="after")
    def _initial_modes_are_resolved(self) -> "KuramotoSivashinskySpec":
        limit = kept_modes(self.points) - 1
        if self.initial_state.modes > limit:
            raise ValueError(
                f"initial_state.modes: {self.initial_state.modes} is above {limit}, the highest mode that "
                f"{self.points} points keep after dealiasing; lower modes or raise points"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return one periodic axis `x`."""
        axis = Axis("x", self.points, periodic=True, length=self.length)
        return FieldsInfo({"u": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Semilinear:
        """Return L = k² - k⁴ and N(v) = -(ik/2) F[(F⁻¹v)²]."""
        k = self._wave_numbers(setting.device)
        to_spectral, to_physical = spectral_maps(self.points)
        return Semilinear(
            linear=(k**2 - k**4).to(torch.complex128),
            nonlinear=quadratic_flux(k, self.points),
            to_spectral=to_spectral,
            to_physical=to_physical,
        )

    def _wave_numbers(self, device: torch.device) -> Float[Tensor, " mode"]:
        modes = torch.arange(kept_modes(self.points), device=device, dtype=torch.float64)
        return modes * (2 * math.pi / self.length)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw sums of random cosines."""
        modes = self.initial_state.modes
        coefficients = torch.complex(
            normal(count, modes, generator=generator), normal(count, modes, generator=generator)
        )
        spectrum = torch.zeros(count, self.points // 2 + 1, device=generator.device, dtype=torch.complex128)
        # Each mode has the variance 2 |coefficient|²; |complex normal|² has the mean 2.
        spectrum[:, 1 : modes + 1] = coefficients * (self.initial_state.amplitude / math.sqrt(4 * modes))
        fields: Tensor = torch.fft.irfft(spectrum, n=self.points, norm="forward")
        return fields[..., None]

    def default_time_step(self) -> float:
        """Return 0.1: an error of 2e-5 over one Lyapunov time at L = 22."""
        return 0.1

    def spin_up_time(self) -> float:
        """Return 200, by which the attractor is reached from small fields."""
        return 200.0

    def lyapunov_time(self) -> float:
        """Return 20, for a leading exponent near 0.05."""
        return 20.0

    def default_integrator(self) -> str:
        """Return the method for stiff semilinear equations."""
        return "etdrk4"

    def invariants(self, fields: Float[Tensor, "batch points 1"]) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the mean."""
        return {"mean": fields.mean(dim=(1, 2))}

    def tail_energy(self, fields: Float[Tensor, "batch points 1"]) -> Float[Tensor, " batch"]:
        """Return the share of energy in the highest tenth of the modes that dealiasing keeps."""
        spectrum: Complex[Tensor, "batch mode"] = torch.fft.rfft(fields[..., 0].double(), norm="forward")
        energy = spectrum[:, 1 : kept_modes(self.points)].abs().square()
        tail = max(1, round(0.1 * energy.shape[1]))
        return energy[:, -tail:].sum(dim=1) / energy.sum(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
