"""Poisson's equation with constant coefficients, and with a reaction term."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float
from pydantic import Field, model_validator

from koopcast.errors import InvalidInput
from koopcast.grids import FieldsInfo
from koopcast.linear import LinearProblem, Profile
from koopcast.numerics.finite_volumes import add_reaction, assemble, held_load
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.chebyshev_series import ChebyshevSeriesSpec
from koopcast.systems.base import StationarySpec
from koopcast.systems.square import axes, box, contract, drawn, inner, interior, laplacian, with_boundary


class PoissonSpec(StationarySpec):
    """Poisson: -Δu + c u = f on the unit square, u = g on its boundary."""

    kind: Literal["poisson"] = "poisson"
    points: int = Field(65, ge=4, le=4097)
    """Nodes along each axis, those on the boundary included."""
    source: AnyRandomField = ChebyshevSeriesSpec()
    """Law of f."""
    boundary: AnyRandomField | None = ChebyshevSeriesSpec()
    """Law of g along each of the four edges, independent; a corner has the mean of its edges. `null`: g = 0,
    and no variable of that name."""
    reaction: float = 0.0
    """Coefficient c. May be varied: one matrix a sample then, in place of one for all. With spacing h of the
    nodes, a shift s of the matrix of differences is c = s / h²."""

    varied = ("reaction",)
    reference = (
        "Wang et al. 2024 (SKR) on a grid in place of triangles; `reaction`: Khodak et al. 2024 (Learning to "
        "Relax), 12 points, c = 121 (-0.15 + 0.6 Beta)"
    )

    @model_validator(mode="after")
    def _laws_have_a_meaning(self) -> "PoissonSpec":
        if (fault := self.source.fault(axes(self.points))) is not None:
            raise ValueError(f"source: {fault}")
        if self.boundary is not None and (fault := self.boundary.fault(axes(self.points)[:1])) is not None:
            raise ValueError(f"boundary: {fault}")
        if (fault := self._indefinite(self.reaction)) is not None:
            raise ValueError(fault)
        return self

    def _indefinite(self, reaction: float) -> str | None:
        lowest = float(_laplacian_box(self.points).eigenvalues[0, 0])
        if reaction > -lowest:
            return None
        return (
            f"reaction: {reaction:g} is not above {-lowest:.6g}, minus the lowest eigenvalue of the "
            "Laplacian: the equation is no longer definite; raise it, or use helmholtz"
        )

    def describe(self) -> FieldsInfo:
        """Return the source, the boundary values where there are any, and the solution."""
        given = ["source"] if self.boundary is None else ["source", "boundary"]
        return contract(self.points, dict.fromkeys([*given, "u"], "1"))

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Draw the source, then the edges y = 0, y = 1, x = 0, x = 1."""
        given = {"source": drawn(self.source, self.points, generator)}
        if self.boundary is not None:
            edges = self.boundary.draw(axes(self.points)[:1], 4, generator).cpu().numpy()
            given["boundary"] = _frame(edges)
        return given

    def problem(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], parameters: Mapping[str, float]
    ) -> LinearProblem:
        """Return second differences, boundary values moved to the right-hand side.

        Raises:
            InvalidInput: The sample's reaction makes the matrix indefinite.
        """
        c = float(parameters.get("reaction", self.reaction))
        if (fault := self._indefinite(c)) is not None:
            raise InvalidInput(fault)
        rhs = interior(given["source"]).ravel()
        if "boundary" in given:
            rhs = rhs + held_load(laplacian(self.points), given["boundary"])
        is_shared = "reaction" not in parameters
        return LinearProblem(
            _shared_matrix(self.points, c) if is_shared else _matrix(self.points, c),
            rhs,
            features=np.array([c]),
            context={"reaction": c},
            box=None if is_shared else box(self.points, shift=c),
        )

    def solution(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], x: Float[np.ndarray, " unknown"]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Return u with its boundary values."""
        return {"u": with_boundary(x, self.points, given.get("boundary"))}

    def profile(self, varied: Collection[str] = ()) -> Profile:
        """Return: symmetric and definite; shared, with its closed form, unless the reaction is varied."""
        is_shared = "reaction" not in varied
        shared_box = box(self.points, shift=self.reaction) if is_shared else None
        return Profile(
            inner(self.points),
            is_symmetric=True,
            is_shared=is_shared,
            box=shared_box,
            has_boxes=not is_shared,
        )


_laplacian_box = lru_cache(maxsize=8)(box)


def _matrix(points: int, reaction: float) -> sparse.csr_array:
    return assemble(add_reaction(laplacian(points), reaction))


_shared_matrix = lru_cache(maxsize=8)(_matrix)


def _frame(edges: Float[np.ndarray, "4 node"]) -> Float[np.ndarray, "node node"]:
    """Return the edges y = 0, y = 1, x = 0, x = 1 around zeros; a corner has the mean of its two."""
    south, north, west, east = edges
    field = np.zeros((edges.shape[1], edges.shape[1]))
    field[0] += south
    field[-1] += north
    field[:, 0] += west
    field[:, -1] += east
    field[np.ix_((0, -1), (0, -1))] /= 2
    return field
