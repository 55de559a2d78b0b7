"""The FitzHugh-Nagumo equations on a square without flux through its sides."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.geometry import cell_centres
from koopcast.numerics.trigonometric import CosineTransform, on_both_axes
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.cosine_gaussian import CosineGaussianSpec
from koopcast.random_fields.white import WhiteSpec
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient


class DiffusionReactionSpec(EvolvingSpec):
    """FitzHugh-Nagumo: u_t = D_u Δu + u - u³ - κ - v, v_t = D_v Δv + u - v on (-1, 1)², no flux."""

    kind: Literal["diffusion_reaction"] = "diffusion_reaction"
    activator_diffusion: PositiveFloat = 1e-3
    """Diffusion D_u of the activator u."""
    inhibitor_diffusion: PositiveFloat = 5e-3
    """Diffusion D_v of the inhibitor v."""
    kappa: float = 5e-3
    """Constant κ of the reaction, k in PDEBench."""
    points: int = Field(128, ge=8)
    """Cells along each side; values lie at their centres."""
    laplacian: Literal["spectral", "finite_volumes"] = "spectral"
    """Eigenvalue of a cosine: that of Δ itself, or of the five-point scheme of PDEBench, an error of h²."""
    initial_state: AnyRandomField = WhiteSpec()
    """Law of both fields at the start. White noise is what PDEBench has; it is another function on each grid,
    and its first records are resolved by none. `{kind: cosine_gaussian, grid: cells}` is one function."""

    varied: ClassVar[tuple[str, ...]] = ("activator_diffusion", "inhibitor_diffusion", "kappa")
    reference = (
        "FitzHugh 1961; Nagumo et al. 1962; parameters of Takamoto et al. 2022, PDEBench, which integrates "
        "finite volumes by an explicit method"
    )

    @model_validator(mode="after")
    def _initial_state_fits(self) -> "DiffusionReactionSpec":
        if (fault := self.initial_state.fault(self.describe().axes)) is not None:
            raise ValueError(f"initial_state: {fault}")
        if isinstance(self.initial_state, CosineGaussianSpec) and self.initial_state.grid != "cells":
            raise ValueError(
                f"initial_state.grid: values lie at cell centres, not at {self.initial_state.grid}; set cells"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return the axes `y` and `x` and the variables u and v."""
        axes = tuple(Axis(name, self.points, length=2.0) for name in ("y", "x"))
        return FieldsInfo({"u": "1", "v": "1"}, axes, TimeAxis(1, self.default_time_step()))

    def coordinates(self) -> dict[str, Float[Tensor, "_"]]:
        """Return the cell centres between -1 and 1."""
        return {axis.name: cell_centres(axis, start=-1.0) for axis in self.describe().axes}

    def problem(self, setting: Setting = ON_CPU) -> Semilinear:
        """Return the diffusion as L and the reaction as N, in coefficients `(*batch, channel, mode, mode)` of
        orthonormal cosines.

        Products are formed at the cells without dealiasing: `tail_energy` refuses where that would matter.
        """
        transform = CosineTransform(self.points, setting.device, setting.dtype)
        to_spectral, to_physical = _maps(transform, setting)
        kappa = coefficient(self, setting, "kappa", axes=2)

        def nonlinear(
            coefficients: Float[Tensor, "*batch 2 mode mode"],
        ) -> Float[Tensor, "*batch 2 mode mode"]:
            u, v = on_both_axes(transform.inverse, coefficients).unbind(-3)
            return on_both_axes(transform.forward, torch.stack((u - u**3 - kappa - v, u - v), dim=-3))

        return Semilinear(self._linear(setting), nonlinear, to_spectral, to_physical)

    def _linear(self, setting: Setting) -> Float[Tensor, "*batch 2 mode mode"]:
        line = self.eigenvalues().to(setting.device)
        plane = line[:, None] + line
        rates = [
            setting.value(f"{name}_diffusion", getattr(self, f"{name}_diffusion"), axes=2) * plane
            for name in ("activator", "inhibitor")
        ]
        return torch.stack(torch.broadcast_tensors(*rates), dim=-3)

    def eigenvalues(self) -> Float[Tensor, " mode"]:
        """Return the eigenvalue -(πk/2)² of cos(πk(x + 1)/2) along one axis, or -(4/h²) sin²(πk/2n)."""
        modes = torch.arange(self.points, dtype=torch.float64)
        if self.laplacian == "spectral":
            return -((math.pi / 2 * modes) ** 2)
        return -((self.points * torch.sin(math.pi * modes / (2 * self.points))) ** 2)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points points 2"]:
        """Draw both fields by the same law, independently."""
        fields = self.initial_state.draw(self.describe().axes, 2 * count, generator)
        return fields.reshape(count, 2, self.points, self.points).movedim(1, -1).contiguous()

    def default_time_step(self) -> float:
        """Return 0.025, half the time between records of PDEBench: an error of 4e-4 from white noise."""
        return 0.025

    def lyapunov_time(self) -> float:
        """Return 5, the length of trajectories of PDEBench; patterns grow at rates up to 1 but saturate."""
        return 5.0

    def default_integrator(self) -> str:
        """Return the method for stiff semilinear equations."""
        return "etdrk4"

    def tail_energy(self, fields: Float[Tensor, "batch points points 2"]) -> Float[Tensor, " batch"]:
        """Return the share of energy in modes of which an index is among the highest tenth, the mean's left
        out; 0 for fields that begin as white noise, which no grid resolves.
        """
        if isinstance(self.initial_state, WhiteSpec):
            return fields.new_zeros(fields.shape[0])
        transform = CosineTransform(self.points, fields.device)
        energy = on_both_axes(transform.forward, fields.double().movedim(-1, -3)).square()
        energy[..., 0, 0] = 0.0
        low = self.points - max(1, round(0.1 * self.points))
        total = energy.sum(dim=(1, 2, 3))
        tail = total - energy[..., :low, :low].sum(dim=(1, 2, 3))
        return tail.clamp_min(0) / total.clamp_min(torch.finfo(torch.float64).tiny)


def _maps(
    transform: CosineTransform, setting: Setting
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    def to_spectral(fields: Float[Tensor, "*batch y x 2"]) -> Float[Tensor, "*batch 2 mode mode"]:
        return on_both_axes(transform.forward, fields.to(setting.dtype).movedim(-1, -3))

    def to_physical(coefficients: Float[Tensor, "*batch 2 mode mode"]) -> Float[Tensor, "*batch y x 2"]:
        return on_both_axes(transform.inverse, coefficients).movedim(-3, -1)

    return to_spectral, to_physical
