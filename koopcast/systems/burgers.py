"""Burgers' equation on a periodic interval."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.cole_hopf import cole_hopf
from koopcast.numerics.fourier import Dealias, PeriodicLine
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.sine_series import GaussianSeriesSpec
from koopcast.systems.base import EvolvingSpec


class BurgersSpec(EvolvingSpec):
    """Burgers: u_t + (u²/2)_x = ν u_xx on (0, 1), periodic."""

    kind: Literal["burgers"] = "burgers"
    viscosity: PositiveFloat = 0.01
    """Viscosity ν: 0.1 in the FNO paper, 1e-3 in its script, {1, 2, 4}·10^{-3..0} in PDEBench, whose paper
    writes ν/π."""
    points: int = Field(256, ge=8, multiple_of=2)
    """Grid points, even: 8192 in the FNO paper, 1024 in its script and in PDEBench."""
    dealias: Dealias = "2/3"
    """Share of the modes that products keep."""
    initial_state: AnyRandomField = GaussianSeriesSpec(preset="fno_repo")
    """How initial fields are drawn: `gaussian_series` with preset `fno_paper` or `fno_repo`, `wave_sum` for
    PDEBench, or another field on one periodic axis."""

    reference = "Burgers 1948; data sets of Li et al. 2021 (FNO) and Takamoto et al. 2022 (PDEBench)"
    varied = ("viscosity",)

    @model_validator(mode="after")
    def _initial_state_fits(self) -> "BurgersSpec":
        if (fault := self.initial_state.fault(self.describe().axes)) is not None:
            raise ValueError(f"initial_state: {fault}")
        return self

    def _line(self, setting: Setting = ON_CPU) -> PeriodicLine:
        return PeriodicLine(self.points, 1.0, self.dealias, setting)

    def describe(self) -> FieldsInfo:
        """Return one periodic axis `x`."""
        axis = Axis("x", self.points, periodic=True, length=1.0)
        return FieldsInfo({"u": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Semilinear:
        """Return L = -ν k² and N(v) = -(ik/2) F[(F⁻¹v)²]."""
        line = self._line(setting)
        return line.semilinear(-setting.value("viscosity", self.viscosity) * line.wave_numbers**2)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw fields and keep the modes that dealiasing keeps."""
        line = self._line(Setting(generator.device))
        fields = self.initial_state.draw(self.describe().axes, count, generator)
        return line.to_physical(line.to_spectral(fields[..., None]))

    def default_time_step(self) -> float:
        """Return 1e-3, or less on fine grids: what speeds near 1 cross in half a grid interval."""
        return min(1e-3, 0.5 / self.points)

    def lyapunov_time(self) -> float:
        """Return 1, in which shocks form from fields near 1."""
        return 1.0

    def default_integrator(self) -> str:
        """Return the method for stiff semilinear equations."""
        return "etdrk4"

    def invariants(
        self, fields: Float[Tensor, "batch points 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the mean."""
        return {"mean": fields.mean(dim=(1, 2))}

    def exact(
        self, initial: Float[Tensor, "batch points 1"], time: float
    ) -> Float[Tensor, "batch points 1"] | None:
        """Return the fields by the Cole-Hopf transform; None where ν is too small for it."""
        fields = cole_hopf(initial[..., 0], time, self.viscosity)
        return None if fields is None else fields[..., None]

    def tail_energy(self, fields: Float[Tensor, "batch points 1"]) -> Float[Tensor, " batch"]:
        """Return the share of energy in the highest tenth of the modes that dealiasing keeps."""
        return self._line().tail_energy(fields)
