"""Gaussian fields on periodic axes with a Matérn-like spectrum."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.numerics.periodic_series import fault, gaussian_series
from koopcast.random_fields.base import RandomFieldSpec


class PeriodicGaussianSpec(RandomFieldSpec):
    """Gaussian field N(0, σ² (-Δ + τ²)^(-α)) on one or two periodic axes, mean removed."""

    kind: Literal["periodic_gaussian"] = "periodic_gaussian"
    alpha: PositiveFloat = 2.5
    """Smoothness α, above half the number of axes."""
    tau: PositiveFloat = 7.0
    """Inverse correlation length τ; 3 for Kolmogorov flow on (0, 2π)²."""
    sigma: float | None = Field(None, gt=0)
    """Scale σ. Default: τ^((2α - d)/2) on d axes."""

    reference = (
        "random_fields.py of the FNO repository (Li et al. 2021): the same law. There the numbers depend on "
        "the grid and the Nyquist mode is drawn; not here"
    )

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw Σ √2 σ (|κ|² + τ²)^(-α/2) (a cos κ·x + b sin κ·x) over one wave vector of each pair."""
        if (problem := self.fault(axes)) is not None:
            raise ShapeMismatch(*problem.split("; ", 1))
        alpha, tau = self.alpha, self.tau
        sigma = tau ** (alpha - len(axes) / 2) if self.sigma is None else self.sigma
        return gaussian_series(axes, lambda k2: sigma * (k2 + tau**2) ** (-alpha / 2), count, generator)

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return what is wrong with axes that are not periodic, or on which the variance is infinite."""
        if self.alpha <= len(axes) / 2:
            return (
                f"alpha: {self.alpha:g} is not above {len(axes) / 2:g}, half the number of axes: the "
                "variance would grow without bound as the grid is refined; raise alpha"
            )
        return fault(self.kind, axes)
