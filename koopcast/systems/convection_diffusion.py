"""A substance carried by a uniform wind."""

import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from koopcast.errors import Underresolved
from koopcast.grids import FieldsInfo
from koopcast.linear import LinearProblem, Profile
from koopcast.numerics.finite_volumes import Upwinding, assemble, convection
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.constant import ConstantSpec
from koopcast.systems.base import StationarySpec
from koopcast.systems.square import (
    axes,
    box,
    contract,
    drawn,
    inner,
    interior,
    laplacian,
    spacings,
    with_boundary,
)


class ConvectionDiffusionSpec(StationarySpec):
    """Convection-diffusion: -ν Δu + b·grad u = f on the unit square, u = 0 on its boundary; not symmetric."""

    kind: Literal["convection_diffusion"] = "convection_diffusion"
    points: int = Field(65, ge=4, le=4097)
    """Nodes along each axis, those on the boundary included."""
    diffusivity: PositiveFloat = 0.02
    """Diffusivity ν."""
    direction: float = math.pi / 4
    """Angle of the wind b from the x axis, in radians. May be varied."""
    strength: NonNegativeFloat = 1.0
    """Speed |b| of the wind. May be varied."""
    source: AnyRandomField = ConstantSpec()
    """Law of f."""
    scheme: Upwinding = "central"
    """`central` is of second order and refuses samples whose cell Péclet number max |b_i| h / (2ν) is above
    1, where it oscillates; `upwind` is of first order and takes all."""

    varied = ("direction", "strength")
    reference = "A nonsymmetric family of two numbers; scheme: Roos, Stynes and Tobiska 2008"

    @model_validator(mode="after")
    def _source_has_a_meaning_and_layers_have_nodes(self) -> "ConvectionDiffusionSpec":
        if (fault := self.source.fault(axes(self.points))) is not None:
            raise ValueError(f"source: {fault}")
        if (wiggles := self._wiggles(self._wind({}))) is not None:
            raise ValueError(f"scheme: {wiggles[0]}; {wiggles[1]}")
        return self

    def _wind(self, parameters: Mapping[str, float]) -> tuple[float, float]:
        """Return b along y and x."""
        angle = float(parameters.get("direction", self.direction))
        speed = float(parameters.get("strength", self.strength))
        return speed * math.sin(angle), speed * math.cos(angle)

    def _wiggles(self, wind: tuple[float, float]) -> tuple[str, str] | None:
        fastest = max(map(abs, wind))
        peclet = fastest / (2 * self.diffusivity * (self.points - 1))
        if self.scheme == "upwind" or peclet <= 1:
            return None
        least = math.ceil(fastest / (2 * self.diffusivity)) + 1
        return (
            f"central differences oscillate at the cell Péclet number {peclet:.3g}, above 1",
            f"raise points to {least} or more, or set scheme to upwind",
        )

    def describe(self) -> FieldsInfo:
        """Return source and solution."""
        return contract(self.points, {"source": "1", "u": "1"})

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Draw the source."""
        return {"source": drawn(self.source, self.points, generator)}

    def problem(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], parameters: Mapping[str, float]
    ) -> LinearProblem:
        """Return diffusion and convection with the sample's wind.

        Raises:
            Underresolved: Central differences oscillate on this grid.
        """
        wind = self._wind(parameters)
        if (fault := self._wiggles(wind)) is not None:
            raise Underresolved(*fault)
        is_shared = self._is_shared(parameters)
        make = _shared_matrix if is_shared else _matrix
        return LinearProblem(
            make(self.points, self.diffusivity, wind, self.scheme),
            interior(given["source"]).ravel(),
            features=np.array(wind),
            context={
                "direction": float(parameters.get("direction", self.direction)),
                "strength": float(parameters.get("strength", self.strength)),
            },
            nearby=box(self.points, scale=self.diffusivity),
        )

    def solution(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], x: Float[np.ndarray, " unknown"]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Return u with its zero boundary."""
        return {"u": with_boundary(x, self.points)}

    def profile(self, varied: Collection[str] = ()) -> Profile:
        """Return: not symmetric, definite in its symmetric part; shared unless the wind is varied."""
        return Profile(
            inner(self.points),
            is_symmetric=False,
            is_shared=self._is_shared(varied),
            nearby=("dirichlet", "dirichlet"),
        )

    @staticmethod
    def _is_shared(varied: Collection[str]) -> bool:
        return not {"direction", "strength"} & set(varied)


def _matrix(
    points: int, diffusivity: float, wind: tuple[float, float], scheme: Upwinding
) -> sparse.csr_array:
    h = spacings(points)
    return assemble(diffusivity * laplacian(points) + convection(wind, inner(points), h, scheme))


_shared_matrix = lru_cache(maxsize=8)(_matrix)
