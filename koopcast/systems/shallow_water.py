"""The shallow-water equations on a square: a round dam breaks."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.distributions import AnyDistribution
from koopcast.distributions.uniform import UniformSpec
from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.geometry import cell_centres
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient, drawn

DRY = 1e-8
"""Depth below which the velocity of what water there is is taken smaller, in place of 0/0."""
COURANT = 0.36
"""Share of a cell that the fastest wave at rest crosses in a step along both axes together."""


class ShallowWaterSpec(EvolvingSpec):
    """Shallow water: h_t + ∇·(h u) = 0, (h u)_t + ∇·(h u u) + g h ∇h = 0; higher water within a circle."""

    kind: Literal["shallow_water"] = "shallow_water"
    gravity: PositiveFloat = 1.0
    """Gravity g."""
    radius: AnyDistribution = UniformSpec(low=0.3, high=0.7)
    """Law of the radius of the dam."""
    inner_height: PositiveFloat = 2.0
    """Depth within the dam."""
    outer_height: PositiveFloat = 1.0
    """Depth around it."""
    length: PositiveFloat = 5.0
    """Side of the square, whose middle is the dam's."""
    points: int = Field(128, ge=8)
    """Cells along each side; values lie at their centres."""
    reconstruction: Literal["linear", "constant"] = "linear"
    """Within a cell: linear, by monotonised central slopes of depth and velocity, or constant."""
    boundary: Literal["outflow", "wall"] = "outflow"
    """Waves leave through the sides, or are reflected."""

    varied: ClassVar[tuple[str, ...]] = ("gravity",)
    reference = (
        "Harten, Lax and van Leer 1983; parameters and outflow of Takamoto et al. 2022, PDEBench, which "
        "takes the wave propagation of clawpack"
    )

    @model_validator(mode="after")
    def _dam_lies_inside(self) -> "ShallowWaterSpec":
        low, high = self.radius.bounds()
        if low < 0 or high > self.length / 2:
            raise ValueError(
                f"radius: a law between {low:g} and {high:g} leaves 0 to {self.length / 2:g}, half of the "
                "side; narrow the law or raise length"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return the axes `y` and `x` and the variables depth and momentum."""
        axes = tuple(Axis(name, self.points, length=self.length) for name in ("y", "x"))
        return FieldsInfo({"h": "1", "hu": "1", "hv": "1"}, axes, TimeAxis(1, self.default_time_step()))

    def coordinates(self) -> dict[str, Float[Tensor, "_"]]:
        """Return the cell centres; the origin is the middle."""
        return {axis.name: cell_centres(axis, start=-self.length / 2) for axis in self.describe().axes}

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return finite volumes with the fluxes of Harten, Lax and van Leer."""
        n, spacing = self.points, self.length / self.points
        g = coefficient(self, setting, "gravity", axes=2)

        def tendency(state: Float[Tensor, "*batch state"]) -> Float[Tensor, "*batch state"]:
            h, hu, hv = state.reshape(*state.shape[:-1], n, n, 3).unbind(-1)
            wet = h.clamp_min(DRY)
            u, v = hu / wet, hv / wet
            along_x = self._outflux(torch.stack((h, u, v)), g)
            along_y = self._outflux(torch.stack((h, v, u)).transpose(-1, -2), g).transpose(-1, -2)
            rate = torch.stack(
                (along_x[0] + along_y[0], along_x[1] + along_y[2], along_x[2] + along_y[1]), dim=-1
            )
            return (rate / -spacing).reshape(state.shape)

        return Tendency(tendency)

    def _outflux(
        self, primitive: Float[Tensor, "3 *batch row cell"], g: float | Tensor
    ) -> Float[Tensor, "3 *batch row cell"]:
        """Return what flows out of cells along the last axis of h, the velocity along it and that across."""
        padded = self._padded(primitive)
        inner = padded[..., 1:-1]
        if self.reconstruction == "linear":
            half = half_slopes(padded)
            left, right = (inner + half)[..., :-1], (inner - half)[..., 1:]
        else:
            left, right = inner[..., :-1], inner[..., 1:]
        return hll_flux(left, right, g).diff(dim=-1)

    def _padded(self, w: Float[Tensor, "3 *batch row cell"]) -> Float[Tensor, "3 *batch row more"]:
        """Return the cells with two beyond each end: copies of the last ones, mirrored at a wall."""
        first, last = w[..., :1], w[..., -1:]
        if self.boundary == "outflow":
            return torch.cat((first, first, w, last, last), dim=-1)
        sign = w.new_tensor([1.0, -1.0, 1.0]).reshape(3, *[1] * (w.dim() - 1))
        before, after = sign * w[..., :2].flip(-1), sign * w[..., -2:].flip(-1)
        return torch.cat((before, w, after), dim=-1)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points points 3"]:
        """Draw radii; water is at rest, and a cell lies within the dam where its centre does."""
        radius = drawn(self.radius, count, generator)[:, None, None]
        x = self.coordinates()["x"].to(generator.device)
        distance = (x[:, None] ** 2 + x**2).sqrt()
        fields = torch.zeros(count, self.points, self.points, 3, dtype=torch.float64, device=generator.device)
        fields[..., 0] = torch.where(distance <= radius, self.inner_height, self.outer_height)
        return fields

    def default_time_step(self) -> float:
        """Return 0.36 of a cell over the speed √(g h) of waves on the deeper water, along both axes."""
        speed = math.sqrt(self.gravity * max(self.inner_height, self.outer_height))
        step = COURANT * self.length / self.points / (2 * speed)
        return float(f"{step:.1g}")

    def lyapunov_time(self) -> float:
        """Return 1, the length of trajectories of PDEBench; the flow is not chaotic."""
        return 1.0

    def default_integrator(self) -> str:
        """Return the method that keeps what steps of Euler keep: depths above zero, no new wiggles."""
        return "ssprk3"

    def invariants(
        self, fields: Float[Tensor, "batch points points 3"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the mean depth between walls; through open sides water leaves with the waves."""
        return {"mean_depth": fields[..., 0].mean(dim=(1, 2))} if self.boundary == "wall" else {}


def half_slopes(w: Float[Tensor, "*batch cell"]) -> Float[Tensor, "*batch inner"]:
    """Return half of the monotonised central slopes of inner cells: what is added to reach a face.

    A quarter of the step between both neighbours, but not past the nearer of them, and 0 at extrema.
    """
    step = w.diff(dim=-1)
    before, after = step[..., :-1], step[..., 1:]
    highest = torch.minimum(before, after).clamp_min_(0)
    lowest = torch.maximum(before, after).clamp_max_(0)
    return torch.clamp((before + after).mul_(0.25), lowest, highest)


def hll_flux(
    left: Float[Tensor, "3 *batch"], right: Float[Tensor, "3 *batch"], g: float | Tensor
) -> Float[Tensor, "3 *batch"]:
    """Return the flux of (h, h u, h v) through faces between states (h, u, v), u across the face.

    F = (s₊ F_l - s₋ F_r + s₊ s₋ (U_r - U_l))/(s₊ - s₋) with the slowest and fastest wave of both sides,
    s₋ = min(0, u - c), s₊ = max(0, u + c), c = √(g h).
    """
    sound_left, sound_right = (g * left[0]).sqrt(), (g * right[0]).sqrt()
    slow = torch.minimum(left[1] - sound_left, right[1] - sound_right).clamp_max(0)
    fast = torch.maximum(left[1] + sound_left, right[1] + sound_right).clamp_min(0)
    conserved_left, conserved_right = _conserved(left), _conserved(right)
    flux_left, flux_right = _flux(left, conserved_left, g), _flux(right, conserved_right, g)
    flux = (fast * flux_left).addcmul_(slow, flux_right, value=-1)
    flux.addcmul_(fast * slow, conserved_right - conserved_left)
    return flux.div_(fast - slow)


def _conserved(w: Float[Tensor, "3 *batch"]) -> Float[Tensor, "3 *batch"]:
    return torch.stack((w[0], w[0] * w[1], w[0] * w[2]))


def _flux(
    w: Float[Tensor, "3 *batch"], conserved: Float[Tensor, "3 *batch"], g: float | Tensor
) -> Float[Tensor, "3 *batch"]:
    flux = conserved * w[1]
    flux[1] += g / 2 * w[0] * w[0]
    return flux
