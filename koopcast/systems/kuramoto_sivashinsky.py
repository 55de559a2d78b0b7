"""The Kuramoto-Sivashinsky equation on a periodic interval."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.fourier import Dealias, PeriodicLine
from koopcast.random_fields.random_cosines import RandomCosinesSpec
from koopcast.systems.base import EvolvingSpec


class KuramotoSivashinskySpec(EvolvingSpec):
    """Kuramoto-Sivashinsky: u_t + u u_x + u_xx + u_xxxx = 0, periodic."""

    kind: Literal["kuramoto_sivashinsky"] = "kuramoto_sivashinsky"
    length: PositiveFloat = 22.0
    """Length L of the domain: 22 low-dimensional chaos; 64, 100, 32π more of it."""
    points: int = Field(64, ge=8, multiple_of=2)
    """Grid points, even."""
    dealias: Dealias = "2/3"
    """Share of the modes that products keep."""
    initial_state: RandomCosinesSpec = RandomCosinesSpec()
    """How initial fields are drawn."""

    reference = "Kuramoto 1978; Sivashinsky 1977; form and numerics as in Kassam and Trefethen 2005"

    @model_validator(mode="after")
    def _initial_modes_are_resolved(self) -> "KuramotoSivashinskySpec":
        limit = self._line().kept - 1
        if self.initial_state.modes > limit:
            raise ValueError(
                f"initial_state.modes: {self.initial_state.modes} is above {limit}, the highest mode that "
                f"{self.points} points keep after dealiasing; lower modes or raise points"
            )
        return self

    def _line(self, setting: Setting = ON_CPU) -> PeriodicLine:
        return PeriodicLine(self.points, self.length, self.dealias, setting)

    def describe(self) -> FieldsInfo:
        """Return one periodic axis `x`."""
        axis = Axis("x", self.points, periodic=True, length=self.length)
        return FieldsInfo({"u": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Semilinear:
        """Return L = k² - k⁴ and N(v) = -(ik/2) F[(F⁻¹v)²]."""
        line = self._line(setting)
        k = line.wave_numbers
        return line.semilinear(k**2 - k**4)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw sums of random cosines."""
        return self.initial_state.draw(self.describe().axes, count, generator)[..., None]

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

    def invariants(
        self, fields: Float[Tensor, "batch points 1"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the mean."""
        return {"mean": fields.mean(dim=(1, 2))}

    def tail_energy(self, fields: Float[Tensor, "batch points 1"]) -> Float[Tensor, " batch"]:
        """Return the share of energy in the highest tenth of the modes that dealiasing keeps."""
        return self._line().tail_energy(fields)
