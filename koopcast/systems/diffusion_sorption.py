"""Diffusion of a substance that clings to the ground it moves through."""

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from koopcast.distributions import AnyDistribution
from koopcast.distributions.uniform import UniformSpec
from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.geometry import cell_centres
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import drawn

SMALLEST = 1e-6
"""Added to a concentration before the power is taken: at zero the retardation would be infinite."""


class DiffusionSorptionSpec(EvolvingSpec):
    """Retarded diffusion on (0, 1): c_t = D/R(c) c_xx, R = 1 + (1 - φ)/φ ρ k n c^(n - 1) after Freundlich."""

    kind: Literal["diffusion_sorption"] = "diffusion_sorption"
    diffusion: PositiveFloat = 5e-4
    """Diffusion D."""
    porosity: float = Field(0.29, gt=0, lt=1)
    """Porosity φ."""
    density: NonNegativeFloat = 2880.0
    """Density ρ of the dry ground; 0 is diffusion alone."""
    coefficient: NonNegativeFloat = 3.5e-4
    """Freundlich's coefficient k."""
    exponent: float = Field(0.874, gt=0, le=1)
    """Freundlich's exponent n; at 1 the equation is linear and its solution known."""
    solubility: PositiveFloat = 1.0
    """Concentration at x = 0. At x = 1 the concentration is -D times its slope."""
    points: int = Field(1024, ge=8)
    """Cells; values lie at their centres."""
    initial_concentration: AnyDistribution = UniformSpec(low=0.0, high=0.2)
    """Law of the concentration at the start, the same in all cells; of numbers not below 0."""

    varied: ClassVar[tuple[str, ...]] = (
        "diffusion",
        "porosity",
        "density",
        "coefficient",
        "exponent",
        "solubility",
    )
    reference = (
        "Takamoto et al. 2022, PDEBench, which sets the values of both ends half a cell outside, an error of "
        "first order in the cell"
    )

    @model_validator(mode="after")
    def _concentrations_are_not_negative(self) -> "DiffusionSorptionSpec":
        if (lowest := self.initial_concentration.bounds()[0]) < 0:
            raise ValueError(f"initial_concentration: its lowest value {lowest:g} is below 0; raise it")
        return self

    def describe(self) -> FieldsInfo:
        """Return the axis `x` and the concentration."""
        properties = frozenset({"exact_solution"}) if self.exponent == 1 else frozenset()
        axis = Axis("x", self.points, length=1.0)
        return FieldsInfo({"c": "1"}, (axis,), TimeAxis(1, self.default_time_step()), properties=properties)

    def coordinates(self) -> dict[str, Float[Tensor, "_"]]:
        """Return the cell centres between 0 and 1."""
        return {axis.name: cell_centres(axis) for axis in self.describe().axes}

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return finite volumes of second order.

        Values beyond the ends follow from those at the ends: (c₋ + c₀)/2 = solubility, and
        (c₊ + c_N)/2 = -D (c₊ - c_N)/h.
        """
        h = 1 / self.points
        D = setting.value("diffusion", self.diffusion)
        outflow = _rounded((D / h - 0.5) / (D / h + 0.5), setting)
        rate, inflow = (
            _rounded(number, setting)
            for number in (D / h**2, 2 * setting.value("solubility", self.solubility))
        )
        strength, exponent = (_rounded(number, setting) for number in self._retardation(setting))

        def tendency(c: Float[Tensor, "*batch points"]) -> Float[Tensor, "*batch points"]:
            padded = torch.cat((inflow - c[..., :1], c, outflow * c[..., -1:]), dim=-1)
            curvature = padded[..., 2:] - 2 * c + padded[..., :-2]
            retardation = 1 + strength * (c.clamp_min(0) + SMALLEST) ** (exponent - 1)
            return rate * curvature / retardation

        return Tendency(tendency, bandwidth=1)

    def _retardation(self, setting: Setting) -> tuple[float | Tensor, float | Tensor]:
        """Return (1 - φ)/φ ρ k n and n."""
        porosity, density, coefficient, exponent = (
            setting.value(name, getattr(self, name))
            for name in ("porosity", "density", "coefficient", "exponent")
        )
        return (1 - porosity) / porosity * density * coefficient * exponent, exponent

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count points 1"]:
        """Draw one concentration a sample."""
        concentration = drawn(self.initial_concentration, count, generator)
        return concentration[:, None, None].expand(-1, self.points, 1).contiguous()

    def exact(
        self, initial: Float[Tensor, "batch points 1"], time: float
    ) -> Float[Tensor, "batch points 1"] | None:
        """Return the series for uniform initial fields where the exponent is 1, else None.

        c = s(x) + Σ a_m e^{-μ²Dt/R} sin μx with s = solubility (1 - x/(1 + D)) and tan μ = -D μ; the end
        x = 1 makes μ = mπ - arctan(D μ).
        """
        if self.exponent != 1:
            return None
        if time == 0:
            return initial
        D, R = self.diffusion, 1 + float(self._retardation(ON_CPU)[0])
        terms = 2 + math.ceil(math.sqrt(40 * R / (D * time)) / math.pi)
        m = np.arange(1, terms + 1) * math.pi
        mu = m.copy()
        for _ in range(100):
            mu = m - np.arctan(D * mu)
        norm = 0.5 - np.sin(2 * mu) / (4 * mu)
        one, x_weight = (1 - np.cos(mu)) / mu, np.sin(mu) / mu**2 - np.cos(mu) / mu
        steady_weight = self.solubility * (one - x_weight / (1 + D))
        x = self.coordinates()["x"].numpy()
        waves = np.exp(-(mu**2) * D * time / R)[:, None] * np.sin(mu[:, None] * x) / norm[:, None]
        start = initial[:, :1, 0].cpu().numpy()
        fields = self.solubility * (1 - x / (1 + D)) + (start * one - steady_weight) @ waves
        return torch.from_numpy(fields)[..., None].to(initial.device)

    def default_time_step(self) -> float:
        """Return 1, the time between records of PDEBench; `bdf` divides it as it needs."""
        return 1.0

    def lyapunov_time(self) -> float:
        """Return 20: errors shrink, and the front is steepest early."""
        return 20.0

    def default_integrator(self) -> str:
        """Return the method for stiff tendencies."""
        return "bdf"


def _rounded(number: float | Tensor, setting: Setting) -> float | Tensor:
    return number.to(setting.dtype) if isinstance(number, Tensor) else number
