"""Functions and their Legendre coefficients."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import legendre
from pydantic import Field, model_validator
from scipy.interpolate import make_interp_spline

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.squared_exponential import SquaredExponentialSpec
from koopcast.systems.base import DrawnSpec

FINE = 1000
"""Fewest intervals on which u is drawn."""
DEGREE = 7
"""Of the spline through the drawn values: an error of the eighth order in their spacing."""
NODES = 256
"""Of the Gauss quadrature: exact up to degree 511."""


class LegendreTransformSpec(DrawnSpec):
    """A random function u on (-1, 1), and the coefficients s_n = (n + 1/2) ∫ u P_n of Σ s_n P_n = u."""

    kind: Literal["legendre_transform"] = "legendre_transform"
    input: AnyRandomField = SquaredExponentialSpec()
    """Law of u."""
    points: int = Field(20, ge=2, le=128)
    """Nodes of the interval, its ends included, and number of coefficients, that of degree n at node n."""

    reference = "Lu et al. 2021 (DeepONet), 20 coefficients"

    @model_validator(mode="after")
    def _input_has_a_meaning(self) -> "LegendreTransformSpec":
        if (fault := self.input.fault(self.describe().axes)) is not None:
            raise ValueError(f"input: {fault}")
        return self

    def describe(self) -> FieldsInfo:
        """Return the axis `x`, the input u and its coefficients s."""
        return FieldsInfo({"u": "1", "s": "1"}, (_axis(self.points),), TimeAxis(1, ""))

    def coordinates(self) -> dict[str, Float[torch.Tensor, "_"]]:
        """Return the nodes between -1 and 1."""
        return {"x": torch.linspace(-1, 1, self.points, dtype=torch.float64)}

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, " x"]]:
        """Draw u on a fine grid, and integrate the spline through it."""
        every = _refinement(self.points)
        u = self.input.draw((_axis(every * (self.points - 1) + 1),), 1, generator)[0].cpu().numpy()
        return {"u": u[::every], "s": _transform(self.points) @ u}


def _refinement(points: int) -> int:
    return -(-FINE // (points - 1))


@lru_cache(maxsize=4)
def _transform(points: int) -> Float[np.ndarray, "degree node"]:
    """Return the matrix from values on the fine grid to coefficients."""
    size = _refinement(points) * (points - 1) + 1
    spline = make_interp_spline(np.linspace(-1, 1, size), np.eye(size), k=DEGREE)
    nodes, weights = legendre.leggauss(NODES)
    moments = legendre.legvander(nodes, points - 1).T @ (weights[:, None] * spline(nodes))
    return np.asarray((np.arange(points) + 0.5)[:, None] * moments)


def _axis(points: int) -> Axis:
    return Axis("x", points, length=2.0)
