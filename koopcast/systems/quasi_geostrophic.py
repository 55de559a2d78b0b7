"""Wind-driven quasi-geostrophic flow in a closed square basin."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import normal
from koopcast.numerics.trigonometric import on_both_axes, sine_transform
from koopcast.spec import Spec
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient


class RandomSines(Spec):
    """Initial fields Σ a_kl sin(πkx) sin(πly) with independent normal a_kl of the variance (k² + l²)⁻²."""

    modes: PositiveInt = 8
    """Wave numbers 1..modes along each axis, half waves of the basin."""
    amplitude: PositiveFloat = 1.0
    """Standard deviation of the field in space, on average."""


class QuasiGeostrophicSpec(EvolvingSpec):
    """Quasi-geostrophy: q_t = -ψ_x - r J(ψ, q) - a Δψ + b Δ²ψ - c Δ³ψ - 2πw sin 2πy with q = Δψ - Fψ."""

    kind: Literal["quasi_geostrophic"] = "quasi_geostrophic"
    points: int = Field(129, ge=9)
    """Nodes along each side of (0, 1)², both ends included; there ψ, Δψ and Δ²ψ are zero."""
    froude: NonNegativeFloat = 1600.0
    """F, the square of basin width over deformation radius."""
    rossby: float = 1e-5
    """r, the factor of nonlinear advection."""
    bottom_friction: NonNegativeFloat = 0.0
    """a."""
    lateral_friction: NonNegativeFloat = 0.0
    """b."""
    biharmonic_friction: NonNegativeFloat = 2e-12
    """c; forecasts of small ensembles are often given 2e-11."""
    wind: float = 1.0
    """w, the strength of the curl of the wind that drives two gyres."""
    initial_state: RandomSines = RandomSines()
    """How initial fields are drawn; the gyres take `spin_up_time` to fill."""

    varied: ClassVar[tuple[str, ...]] = (
        "froude",
        "rossby",
        "bottom_friction",
        "lateral_friction",
        "biharmonic_friction",
        "wind",
    )
    reference = (
        "Sakov and Oke 2008, Tellus 60A; equation, signs and numbers of EnKF-Matlab and DAPPER. There ψ is "
        "found from q by cycles of a multigrid method, here exactly"
    )

    @model_validator(mode="after")
    def _initial_modes_are_resolved(self) -> "QuasiGeostrophicSpec":
        if self.initial_state.modes > self.points - 2:
            raise ValueError(
                f"initial_state.modes: {self.initial_state.modes} is above {self.points - 2}, the inner "
                f"nodes of {self.points}; lower modes or raise points"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return the axes `y` and `x` and the stream function."""
        axes = tuple(Axis(name, self.points, length=1.0) for name in ("y", "x"))
        return FieldsInfo({"psi": "1"}, axes, TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return ψ_t = (Δ - F)⁻¹ q_t; a linear map of the state changes nothing of Runge-Kutta steps in q."""
        n, spacing = self.points, 1 / (self.points - 1)
        F, r, w, a, b, c = (
            coefficient(self, setting, name, axes=2)
            for name in (
                "froude", "rossby", "wind", "bottom_friction", "lateral_friction", "biharmonic_friction"
            )
        )  # fmt: skip
        curl = w * self._curl().to(setting.device, setting.dtype)
        inverse = 1 / (self._eigenvalues().to(setting.device) - setting.value("froude", self.froude, axes=2))
        inverse = inverse.to(setting.dtype)

        def tendency(state: Float[Tensor, "*batch state"]) -> Float[Tensor, "*batch state"]:
            psi = framed(state.reshape(*state.shape[:-1], n, n)[..., 1:-1, 1:-1])
            zeta = framed(laplacian(psi, spacing))
            rate = curl - r * arakawa(psi, zeta - F * psi, spacing) - a * zeta[..., 1:-1, 1:-1]
            rate = rate - (psi[..., 1:-1, 2:] - psi[..., 1:-1, :-2]) / (2 * spacing)
            twice = laplacian(zeta, spacing)
            rate = rate + b * twice - c * laplacian(framed(twice), spacing)
            inverted = on_both_axes(sine_transform, on_both_axes(sine_transform, rate) * inverse)
            return framed(inverted).reshape(state.shape)

        return Tendency(tendency)

    def _curl(self) -> Float[Tensor, "inner 1"]:
        y = torch.arange(1, self.points - 1, dtype=torch.float64) / (self.points - 1)
        return -2 * math.pi * torch.sin(2 * math.pi * y)[:, None]

    def _eigenvalues(self) -> Float[Tensor, "inner inner"]:
        """Return -(4/h²) (sin²(πkh/2) + sin²(πlh/2)) of the five-point Laplacian."""
        modes = torch.arange(1, self.points - 1, dtype=torch.float64)
        line = (2 * (self.points - 1) * torch.sin(math.pi * modes / (2 * (self.points - 1)))) ** 2
        return -(line[:, None] + line)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points points 1"]:
        """Draw sums of random sines."""
        modes = self.initial_state.modes
        number = torch.arange(1, modes + 1, device=generator.device, dtype=torch.float64)
        weight = 1 / (number[:, None] ** 2 + number**2)
        # The mean square of a product of two sines is a quarter.
        weight *= self.initial_state.amplitude / (weight.square().sum() / 4).sqrt()
        place = torch.arange(self.points, device=generator.device, dtype=torch.float64) / (self.points - 1)
        waves = torch.sin(math.pi * place[:, None] * number)
        waves[-1] = 0.0
        coefficients = weight * normal(count, modes, modes, generator=generator)
        return (waves @ coefficients @ waves.T)[..., None]

    def default_time_step(self) -> float:
        """Return the 1.25 of the literature at 129 nodes, and less in proportion on finer grids."""
        return float(f"{1.25 * 128 / (self.points - 1):.3g}")

    def spin_up_time(self) -> float:
        """Return 3500, the spin-up of DAPPER; the gyres go on to grow until about 9000."""
        return 3500.0

    def lyapunov_time(self) -> float:
        """Return 70: small errors double in 25 to 50 after DAPPER."""
        return 70.0


def framed(inner: Float[Tensor, "*batch row column"]) -> Float[Tensor, "*batch rows columns"]:
    """Return a field with a frame of zeros about it."""
    return torch.nn.functional.pad(inner, (1, 1, 1, 1))


def laplacian(f: Float[Tensor, "*batch y x"], spacing: float) -> Float[Tensor, "*batch inner_y inner_x"]:
    """Return the five-point Laplacian at inner nodes."""
    inner = f[..., 1:-1, 1:-1]
    around = f[..., 2:, 1:-1] + f[..., :-2, 1:-1] + f[..., 1:-1, 2:] + f[..., 1:-1, :-2]
    return (around - 4 * inner) / spacing**2


def arakawa(
    a: Float[Tensor, "*batch y x"], b: Float[Tensor, "*batch y x"], spacing: float
) -> Float[Tensor, "*batch inner_y inner_x"]:
    """Return a_x b_y - a_y b_x at inner nodes by the mean of three differences that keeps Σ a J = Σ b J = 0.

    Arakawa 1966: what it weighs each of the eight neighbours of b with are differences of a around it.
    """

    def at(f: Tensor, east: int, north: int) -> Tensor:
        rows, columns = f.shape[-2] - 1, f.shape[-1] - 1
        return f[..., 1 + north : rows + north, 1 + east : columns + east]

    a_east, a_west, a_north, a_south = at(a, 1, 0), at(a, -1, 0), at(a, 0, 1), at(a, 0, -1)
    north_east, north_west = a_east - a_north, a_north - a_west
    south_east, south_west = a_south - a_east, a_west - a_south
    corners_north, corners_south = at(a, 1, 1) - at(a, -1, 1), at(a, 1, -1) - at(a, -1, -1)
    corners_east, corners_west = at(a, 1, 1) - at(a, 1, -1), at(a, -1, 1) - at(a, -1, -1)
    total = north_east * at(b, 1, 1) + north_west * at(b, -1, 1)
    total += south_east * at(b, 1, -1) + south_west * at(b, -1, -1)
    total += (a_east - a_west + corners_north) * at(b, 0, 1)
    total -= (a_east - a_west + corners_south) * at(b, 0, -1)
    total -= (a_north - a_south + corners_east) * at(b, 1, 0)
    total += (a_north - a_south + corners_west) * at(b, -1, 0)
    return total / (12 * spacing**2)
