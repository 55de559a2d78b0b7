"""Flow through a porous medium."""

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator

from koopcast.grids import FieldsInfo
from koopcast.linear import LinearProblem, Profile
from koopcast.numerics.finite_volumes import Averaging, assemble, diffusion
from koopcast.systems.base import StationarySpec
from koopcast.systems.coefficients import AnyCoefficient, FNOThresholdSpec
from koopcast.systems.square import box, contract, inner, interior, spacings, with_boundary


class DarcySpec(StationarySpec):
    """Darcy flow: -div(a grad u) = f on the unit square, u = 0 on its boundary."""

    kind: Literal["darcy"] = "darcy"
    points: int = Field(65, ge=4, le=4097)
    """Nodes along each axis, those on the boundary included: 421 is the grid of the FNO data."""
    coefficient: AnyCoefficient = FNOThresholdSpec()
    """Law of the coefficient a."""
    source: float = 1.0
    """Right-hand side f, the same everywhere. May be varied: PDEBench has 0.01, 0.1, 1, 10, 100."""
    averaging: Averaging = "harmonic"
    """Of a, from two nodes to the face between them: `harmonic`, or `arithmetic` as in the FNO script."""
    stencil: Literal["conservative", "skr"] = "conservative"
    """`conservative` is symmetric; `skr` has 4 a at the node and -a of each neighbour, as the SKR code does:
    it is neither symmetric nor a discretisation of this equation, and serves comparison."""

    varied = ("source",)
    reference = (
        "Li et al. 2021 (FNO); Takamoto et al. 2022 (PDEBench), who step a heat equation in time where here "
        "the elliptic equation is solved; `skr`: Wang et al. 2024"
    )

    @model_validator(mode="after")
    def _coefficient_has_a_meaning(self) -> "DarcySpec":
        if (fault := self.coefficient.fault(self.points)) is not None:
            raise ValueError(f"coefficient: {fault}")
        return self

    def describe(self) -> FieldsInfo:
        """Return the coefficient and the solution on the unit square."""
        return contract(self.points, {"coefficient": "1", "u": "1"})

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Draw the coefficient."""
        return {"coefficient": self.coefficient.draw(self.points, generator)}

    def problem(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], parameters: Mapping[str, float]
    ) -> LinearProblem:
        """Return the balance of fluxes of every interior node."""
        a = given["coefficient"]
        h = spacings(self.points)
        stencil = _skr(a, h[0]) if self.stencil == "skr" else diffusion(a, h, self.averaging)
        matrix = assemble(stencil)
        return LinearProblem(
            matrix,
            np.full(matrix.shape[0], float(parameters.get("source", self.source))),
            features=a.ravel(),
            feature_grid=a.shape,
            nearby=box(self.points, scale=float(interior(a).mean())),
        )

    def solution(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], x: Float[np.ndarray, " unknown"]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Return u with its zero boundary."""
        return {"u": with_boundary(x, self.points)}

    def profile(self, varied: Collection[str] = ()) -> Profile:
        """Return: symmetric and definite, unless the stencil is `skr`; a matrix a sample."""
        is_symmetric = self.stencil == "conservative"
        return Profile(
            inner(self.points),
            is_symmetric=is_symmetric,
            is_definite=is_symmetric,
            nearby=("dirichlet", "dirichlet"),
        )


def _skr(a: Float[np.ndarray, "y x"], h: float) -> Float[np.ndarray, "entry y_inner x_inner"]:
    """Return the stencil (4 a u - Σ a_neighbour u_neighbour) / h²."""
    neighbours = [a[:-2, 1:-1], a[1:-1, :-2], -4 * a[1:-1, 1:-1], a[1:-1, 2:], a[2:, 1:-1]]
    return -np.stack(neighbours) / h**2
