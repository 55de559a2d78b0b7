"""Waves of one frequency in a closed cavity."""

import math
from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator

from koopcast.errors import Underresolved
from koopcast.grids import FieldsInfo
from koopcast.linear import Box, LinearProblem, Profile
from koopcast.numerics.finite_volumes import Averaging, add_reaction, assemble, diffusion
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.constant import ConstantSpec
from koopcast.systems.base import StationarySpec
from koopcast.systems.coefficients import AnyCoefficient, ConstantCoefficientSpec, LognormalSpec
from koopcast.systems.square import axes, box, contract, drawn, inner, interior, spacings, with_boundary

POINTS_A_WAVE = 6
"""Nodes that the shortest wave 2π √a / (k n) must have."""


class HelmholtzSpec(StationarySpec):
    """Helmholtz: -div(a grad u) - k² n² u = f on the unit square, u = 0 on its boundary; indefinite."""

    kind: Literal["helmholtz"] = "helmholtz"
    points: int = Field(65, ge=4, le=4097)
    """Nodes along each axis, those on the boundary included."""
    wavenumber: PositiveFloat = 10.0
    """Wave number k: 5 to 15 is indefinite and resolved on 48 to 65 points. May be varied."""
    coefficient: AnyCoefficient = ConstantCoefficientSpec()
    """Law of a."""
    index: AnyCoefficient = LognormalSpec(amplitude=0.5)
    """Law of the refractive index n."""
    source: AnyRandomField = ConstantSpec()
    """Law of f."""
    averaging: Averaging = "harmonic"
    """Of a, from two nodes to the face between them."""

    varied = ("wavenumber",)
    reference = (
        "Wang et al. 2024 (SKR), whose public code draws k from (0, 1), where the matrix is positive definite"
    )

    @model_validator(mode="after")
    def _laws_have_a_meaning(self) -> "HelmholtzSpec":
        for name in ("coefficient", "index"):
            if (fault := getattr(self, name).fault(self.points)) is not None:
                raise ValueError(f"{name}: {fault}")
        if (fault := self.source.fault(axes(self.points))) is not None:
            raise ValueError(f"source: {fault}")
        least = math.ceil(POINTS_A_WAVE * self.wavenumber / (2 * math.pi)) + 1
        if self.points < least:
            raise ValueError(
                f"wavenumber: {self.wavenumber:g} has fewer than {POINTS_A_WAVE} nodes a wave on "
                f"{self.points} points; raise points to {least} or more"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return coefficient, refractive index, source and solution."""
        return contract(self.points, dict.fromkeys(("coefficient", "index", "source", "u"), "1"))

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Draw coefficient, index and source."""
        return {
            "coefficient": self.coefficient.draw(self.points, generator),
            "index": self.index.draw(self.points, generator),
            "source": drawn(self.source, self.points, generator),
        }

    def problem(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], parameters: Mapping[str, float]
    ) -> LinearProblem:
        """Return the diffusion less k² n².

        Raises:
            Underresolved: The shortest wave has too few nodes.
        """
        a, n, k = given["coefficient"], given["index"], float(parameters.get("wavenumber", self.wavenumber))
        self._check_waves(k * float((n / np.sqrt(a)).max()))
        potential = (k * interior(n)) ** 2
        stencil = add_reaction(diffusion(a, spacings(self.points), self.averaging), -potential)
        has_constant_a = isinstance(self.coefficient, ConstantCoefficientSpec)
        return LinearProblem(
            assemble(stencil),
            interior(given["source"]).ravel(),
            features=potential.ravel() if has_constant_a else np.concatenate((a.ravel(), potential.ravel())),
            feature_grid=potential.shape if has_constant_a else None,
            context={"wavenumber": k},
            nearby=_nearby(self.points, float(interior(a).mean()), float(potential.mean())),
        )

    def _check_waves(self, wavenumber: float) -> None:
        nodes = 2 * math.pi / wavenumber * (self.points - 1)
        if nodes < POINTS_A_WAVE:
            raise Underresolved(
                f"the shortest wave of a sample has {nodes:.2g} nodes on {self.points} points, below "
                f"{POINTS_A_WAVE}",
                "raise `points` or lower `wavenumber`",
            )

    def solution(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], x: Float[np.ndarray, " unknown"]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Return u with its zero boundary."""
        return {"u": with_boundary(x, self.points)}

    def profile(self, varied: Collection[str] = ()) -> Profile:
        """Return: symmetric, not definite; a matrix a sample."""
        return Profile(inner(self.points), is_symmetric=True, is_definite=False)


def _nearby(points: int, scale: float, potential: float) -> Box:
    """Return -scale Δ - potential, its eigenvalues kept away from 0 by half the lowest of -scale Δ."""
    laplacian = box(points, scale=scale)
    floor = 0.5 * float(laplacian.eigenvalues.min())
    shifted = laplacian.eigenvalues - potential
    return Box(laplacian.transforms, np.where(shifted < 0, -1.0, 1.0) * np.maximum(np.abs(shifted), floor))
