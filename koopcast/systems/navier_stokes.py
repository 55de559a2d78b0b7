"""Two-dimensional flow of an incompressible fluid on a periodic square."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.fourier import Dealias
from koopcast.numerics.fourier_2d import PeriodicSquare
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.periodic import PeriodicGaussianSpec
from koopcast.systems.base import EvolvingSpec

KOLMOGOROV: dict[str, Any] = {
    "length": 2 * math.pi,
    "viscosity": 1 / 500,
    "forcing": "kolmogorov",
    "amplitude": 4.0,
    "forced_mode": 4,
    "initial_state": {"kind": "periodic_gaussian", "tau": 3.0},
}
"""What `preset: kolmogorov` says; `fno` is what the options say by themselves."""


class NavierStokesSpec(EvolvingSpec):
    """Navier-Stokes in vorticity: ω_t + u·∇ω = ν Δω + f on a periodic square, mean vorticity 0."""

    kind: Literal["navier_stokes"] = "navier_stokes"
    preset: Literal["fno", "kolmogorov"] = "fno"
    """Values of the options below that are not given: the FNO data set on (0, 1)², or flow on (0, 2π)² forced
    by -4 cos 4y at Re = 500."""
    length: PositiveFloat = 1.0
    """Side L of the square."""
    viscosity: NonNegativeFloat = 1e-3
    """Viscosity ν, 1/Re on (0, 2π)²: 1e-3, 1e-4 and 1e-5 in the FNO data sets, 1/500 for `kolmogorov`."""
    points: int = Field(64, ge=8, multiple_of=2)
    """Grid points along an axis, even: 256 in the FNO data sets, and for Kolmogorov flow at Re = 500."""
    dealias: Dealias = "2/3"
    """Share of the modes along an axis that products keep."""
    forcing: Literal["diagonal", "kolmogorov", "none"] = "diagonal"
    """f: A (sin κ(x + y) + cos κ(x + y)), or -A cos κy, with κ = 2πm/L."""
    amplitude: NonNegativeFloat = 0.1
    """Amplitude A of the forcing."""
    forced_mode: PositiveInt = 1
    """Wave number m of the forcing."""
    initial_state: AnyRandomField = PeriodicGaussianSpec()
    """How initial vorticity is drawn: a field on two periodic axes; its mean is taken away."""

    reference = (
        "Li et al. 2021 (FNO) and Li et al. 2021 (PINO, `kolmogorov`), which keep the modes of a circle there"
    )
    varied = ("viscosity",)

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, values: Any) -> Any:
        is_kolmogorov = isinstance(values, dict) and values.get("preset") == "kolmogorov"
        return {**KOLMOGOROV, **values} if is_kolmogorov else values

    @model_validator(mode="after")
    def _modes_are_resolved(self) -> "NavierStokesSpec":
        if (fault := self.initial_state.fault(self.describe().axes)) is not None:
            raise ValueError(f"initial_state: {fault}")
        limit = self._square().kept - 1
        if self.forcing != "none" and self.forced_mode > limit:
            raise ValueError(
                f"forced_mode: {self.forced_mode} is above {limit}, the highest mode that {self.points} "
                "points keep after dealiasing; lower it or raise points"
            )
        return self

    def _square(self, setting: Setting = ON_CPU) -> PeriodicSquare:
        return PeriodicSquare(self.points, self.length, self.dealias, setting)

    def describe(self) -> FieldsInfo:
        """Return periodic axes `y` and `x`."""
        axes = tuple(Axis(name, self.points, periodic=True, length=self.length) for name in ("y", "x"))
        return FieldsInfo({"vorticity": "1"}, axes, TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Semilinear:
        """Return L = -ν |k|² and N = F[f - u·∇ω], u = (ψ_y, -ψ_x), -Δψ = ω."""
        square = self._square(setting)
        return Semilinear(
            linear=setting.value("viscosity", self.viscosity, axes=2) * square.laplacian,
            nonlinear=square.advection(self._forcing(setting.device)),
            to_spectral=square.to_spectral,
            to_physical=square.to_physical,
        )

    def _forcing(self, device: torch.device) -> Float[Tensor, "y x"] | None:
        if self.forcing == "none":
            return None
        angle = torch.arange(self.points, dtype=torch.float64, device=device)
        angle = angle * (2 * math.pi * self.forced_mode / self.points)
        if self.forcing == "kolmogorov":
            return -self.amplitude * torch.cos(angle)[:, None].repeat(1, self.points)
        both = angle[:, None] + angle
        return self.amplitude * (torch.sin(both) + torch.cos(both))

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points points 1"]:
        """Draw fields and keep the modes that dealiasing keeps, the mean apart."""
        square = self._square(Setting(generator.device))
        fields = self.initial_state.draw(self.describe().axes, count, generator)
        return square.to_physical(square.to_spectral(fields[..., None]))

    def default_time_step(self) -> float:
        """Return 0.01, or less above 64 points: a Courant number near 1/2 for the presets."""
        return min(0.01, 0.64 / self.points)

    def spin_up_time(self) -> float:
        """Return 100 for Kolmogorov flow, which is statistically steady then; 0 for the rest."""
        return 100.0 if self.forcing == "kolmogorov" else 0.0

    def lyapunov_time(self) -> float:
        """Return 1, about the turn-over time of the largest eddies of the presets."""
        return 1.0

    def default_integrator(self) -> str:
        """Return the method for stiff semilinear equations."""
        return "etdrk4"

    def invariants(
        self, fields: Float[Tensor, "batch points points 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the mean; without viscosity and forcing also energy <ω, ψ>/2 and enstrophy <ω, ω>/2."""
        mean = {"mean": fields.mean(dim=(1, 2, 3))}
        if self.viscosity > 0 or "viscosity" in setting.parameters or self.forcing != "none":
            return mean
        square = self._square(Setting(fields.device))
        w = square.to_spectral(fields)
        psi = square.to_physical(w / torch.where(square.mask == 0, 1.0, -square.laplacian))
        energy, enstrophy = ((fields * other).mean(dim=(1, 2, 3)) / 2 for other in (psi, fields))
        return {**mean, "energy": energy, "enstrophy": enstrophy}

    def tail_energy(self, fields: Float[Tensor, "batch points points 1"]) -> Float[Tensor, " batch"]:
        """Return the share of kinetic energy in the highest tenth of the modes that dealiasing keeps."""
        return self._square().tail_energy(fields)
