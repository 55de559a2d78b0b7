"""The unit square with nodes on a grid, those on its boundary included: where the elliptic systems live."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.linear import Box
from koopcast.numerics.finite_volumes import diffusion, laplacian_box
from koopcast.random_fields.base import RandomFieldSpec


def axes(points: int) -> tuple[Axis, Axis]:
    """Return y and x: `points` nodes i h with h = 1 / (points - 1)."""
    return Axis("y", points, length=1.0), Axis("x", points, length=1.0)


def contract(points: int, variables: Mapping[str, str]) -> FieldsInfo:
    """Return the contract of one sample."""
    return FieldsInfo(variables, axes(points), TimeAxis(1, ""))


def spacings(points: int) -> tuple[float, float]:
    """Return h along each axis."""
    return 1 / (points - 1), 1 / (points - 1)


def inner(points: int) -> tuple[int, int]:
    """Return how many interior nodes, the unknowns, each axis has."""
    return points - 2, points - 2


@lru_cache(maxsize=8)
def laplacian(points: int) -> Float[np.ndarray, "entry y_inner x_inner"]:
    """Return the stencil of -Δ, which nobody may change."""
    return diffusion(np.ones((points, points)), spacings(points))


def box(points: int, scale: float = 1.0, shift: float = 0.0) -> Box:
    """Return -scale Δ + shift on the interior nodes, with values held on the boundary."""
    return laplacian_box(("dirichlet", "dirichlet"), inner(points), spacings(points), scale, shift)


def interior(field: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y_inner x_inner"]:
    """Return the values at interior nodes."""
    return field[1:-1, 1:-1]


def with_boundary(
    x: Float[np.ndarray, " unknown"], points: int, held: Float[np.ndarray, "y x"] | None = None
) -> Float[np.ndarray, "y x"]:
    """Return the field of all nodes; held values, by default 0, on the boundary."""
    field = np.zeros((points, points)) if held is None else held.copy()
    interior(field)[...] = x.reshape(inner(points))
    return field


def drawn(field: RandomFieldSpec, points: int, generator: torch.Generator) -> Float[np.ndarray, "y x"]:
    """Draw one field at all nodes."""
    return np.asarray(field.draw(axes(points), 1, generator)[0].cpu().numpy())
