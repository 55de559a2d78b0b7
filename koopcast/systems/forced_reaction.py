"""Diffusion and reaction driven by a random source, between ends held at zero."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.trigonometric import sine_transform
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.squared_exponential import SquaredExponentialSpec
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient


class ForcedReactionSpec(EvolvingSpec):
    """s_t = D s_xx + k s² + u(x) on (0, 1) from s = 0, s = 0 at both ends; the source u stays as it is."""

    kind: Literal["forced_reaction"] = "forced_reaction"
    diffusion: PositiveFloat = 0.01
    """Diffusion D."""
    reaction: float = 0.01
    """Rate k of the reaction."""
    source: AnyRandomField = SquaredExponentialSpec()
    """Law of u."""
    points: int = Field(101, ge=8)
    """Nodes, both ends included."""

    varied: ClassVar[tuple[str, ...]] = ("diffusion", "reaction")
    reference = (
        "diffusion-reaction system of Lu et al. 2021 (DeepONet), who take centred differences and "
        "Crank-Nicolson steps of 0.01"
    )

    @model_validator(mode="after")
    def _source_has_a_meaning(self) -> "ForcedReactionSpec":
        if (fault := self.source.fault(self.describe().axes)) is not None:
            raise ValueError(f"source: {fault}")
        return self

    def describe(self) -> FieldsInfo:
        """Return the axis `x`, the source u and the solution s."""
        axis = Axis("x", self.points, length=1.0)
        return FieldsInfo({"u": "1", "s": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Semilinear:
        """Return the equation of w = s - q in sine coefficients, D q'' = -ℓ with ℓ the line through the end
        values of u: w_t = D w_xx + k s² + (u - ℓ).

        w and u - ℓ are zero at the ends, so that their series converge fast; those of s and u would not. A
        vector of coefficients holds w, u - ℓ, and the two end values.
        """
        size = self.points - 2
        x = self.coordinates()["x"].to(setting.device, setting.dtype)
        k = coefficient(self, setting, "reaction", axes=1)
        D = coefficient(self, setting, "diffusion", axes=1)

        def lift(ends: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch x"]:
            a, b = ends[..., :1], ends[..., 1:]
            result: Tensor = (a * (x / 3 - x**2 / 2 + x**3 / 6) + b * (x - x**3) / 6) / D
            return result

        def line(ends: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch x"]:
            return ends[..., :1] * (1 - x) + ends[..., 1:] * x

        def to_spectral(fields: Float[Tensor, "*batch x 2"]) -> Float[Tensor, "*batch mode"]:
            u, s = fields.to(setting.dtype).unbind(-1)
            ends = u[..., [0, -1]]
            w, rest = _inner(s - lift(ends)), _inner(u - line(ends))
            return torch.cat((sine_transform(w), sine_transform(rest), ends), dim=-1)

        def solution(v: Float[Tensor, "*batch mode"]) -> Float[Tensor, "*batch x"]:
            return _with_ends(sine_transform(v[..., :size])) + lift(v[..., -2:])

        def to_physical(v: Float[Tensor, "*batch mode"]) -> Float[Tensor, "*batch x 2"]:
            u = _with_ends(sine_transform(v[..., size:-2])) + line(v[..., -2:])
            return torch.stack((u, solution(v)), dim=-1)

        def nonlinear(v: Float[Tensor, "*batch mode"]) -> Float[Tensor, "*batch mode"]:
            rate = sine_transform(_inner(k * solution(v).square())) + v[..., size:-2]
            return torch.nn.functional.pad(rate, (0, size + 2))

        return Semilinear(self._linear(setting), nonlinear, to_spectral, to_physical)

    def _linear(self, setting: Setting) -> Float[Tensor, "*batch mode"]:
        modes = torch.arange(1, self.points - 1, dtype=torch.float64, device=setting.device)
        rates: Tensor = setting.value("diffusion", self.diffusion) * -((math.pi * modes) ** 2)
        return torch.nn.functional.pad(rates, (0, self.points))

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 2"]:
        """Draw the source; s is 0."""
        u = self.source.draw(self.describe().axes, count, generator)
        return torch.stack((u, torch.zeros_like(u)), dim=-1)

    def default_time_step(self) -> float:
        """Return 0.01, the step of the source: an error below 1e-11 after one unit of time."""
        return 0.01

    def lyapunov_time(self) -> float:
        """Return 1, the time up to which the source solves; a small s forgets its start by diffusion."""
        return 1.0

    def default_integrator(self) -> str:
        """Return the method for stiff semilinear equations."""
        return "etdrk4"

    def tail_energy(self, fields: Float[Tensor, "batch points 2"]) -> Float[Tensor, " batch"]:
        """Return the share of the energy of s in the highest tenth of its sine modes."""
        energy = sine_transform(_inner(fields[..., 1].double())).square()
        tail = energy[:, -max(1, round(0.1 * energy.shape[1])) :].sum(dim=1)
        return tail / energy.sum(dim=1).clamp_min(torch.finfo(torch.float64).tiny)


def _inner(x: Float[Tensor, "*batch points"]) -> Float[Tensor, "*batch inner"]:
    return x[..., 1:-1]


def _with_ends(x: Float[Tensor, "*batch inner"]) -> Float[Tensor, "*batch points"]:
    return torch.nn.functional.pad(x, (1, 1))
