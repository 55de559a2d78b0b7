"""Gaussian sine and cosine series on one periodic axis, with the laws in use for Burgers' equation."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.numerics.periodic_series import fault, gaussian_series
from koopcast.random_fields.base import RandomFieldSpec

REPOSITORY = {"gamma": 2.5, "tau": 7.0, "sigma": 49.0}
"""What `preset: fno_repo` says; `fno_paper` is what the options say by themselves."""


class GaussianSeriesSpec(RandomFieldSpec):
    """Gaussian field N(0, σ² (-∂² + τ²)^(-γ)) on one periodic axis, as in data of Burgers' equation."""

    kind: Literal["gaussian_series"] = "gaussian_series"
    preset: Literal["fno_paper", "fno_repo"] = "fno_paper"
    """Values of the options below that are not given: γ 2, τ 5, σ 25 of the FNO paper, that is
    N(0, 625 (-∂² + 25)^-2), or γ 2.5, τ 7, σ 49 of its repository."""
    gamma: float = Field(2.0, gt=0.5)
    """Smoothness γ."""
    tau: PositiveFloat = 5.0
    """Inverse correlation length τ."""
    sigma: PositiveFloat = 25.0
    """Scale σ."""

    reference = "Li et al. 2021, section 5.1, and gen_burgers1.m with GRF1.m of the FNO repository"

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, values: Any) -> Any:
        is_repository = isinstance(values, dict) and values.get("preset") == "fno_repo"
        return {**REPOSITORY, **values} if is_repository else values

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count points"]:
        """Draw Σ_k √2 σ ((2πk/L)² + τ²)^(-γ/2) (ξ_k cos 2πkx/L + ζ_k sin 2πkx/L)."""
        if (problem := self.fault(axes)) is not None:
            raise ShapeMismatch(*problem.split("; ", 1))
        sigma, tau, gamma = self.sigma, self.tau, self.gamma
        return gaussian_series(axes, lambda k2: sigma * (k2 + tau**2) ** (-gamma / 2), count, generator)

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return what is wrong with axes that are not one periodic axis."""
        return fault(self.kind, axes, dimensions=(1,))
