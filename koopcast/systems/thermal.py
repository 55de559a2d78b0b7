"""Steady heat in a plate with a slot."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.linear import LinearProblem, Profile
from koopcast.numerics.geometry import implied_coordinates
from koopcast.systems.base import StationarySpec

HEIGHT = 1.6
"""Of the plate; its width is 1."""
SLOT_Y, SLOT_X = (0.4, 1.2), (0.45, 0.55)
"""Sides of the slot, from the lower left corner of the plate."""
DIVISOR = 20
"""Spacings 1 / (k DIVISOR) put the sides of the slot on grid lines."""


class ThermalSpec(StationarySpec):
    """Thermal: Δu = 0 on a plate 1 x 1.6 less a slot 0.1 x 0.8; u = T at the left edge, flux q right."""

    kind: Literal["thermal"] = "thermal"
    points: int = Field(41, ge=21, le=1001)
    """Nodes across the plate, those on its edges included: 1 and a multiple of 20, so that the slot lies on
    grid lines. Along the plate there are 1.6 (points - 1) + 1."""
    temperature: float = 100.0
    """Temperature T of the left edge. May be varied: the source has 100 U(0, 1)."""
    flux: float = -100.0
    """Heat q that enters through a unit of length of the right edge; all other edges are insulated. May be
    varied: the source has -100 U(0, 1)."""

    varied = ("temperature", "flux")
    reference = "Thermal problem of Wang et al. 2024 (SKR) on a grid in place of triangles"

    @model_validator(mode="after")
    def _slot_lies_on_grid_lines(self) -> "ThermalSpec":
        if (self.points - 1) % DIVISOR:
            below = (self.points - 1) // DIVISOR * DIVISOR + 1
            raise ValueError(
                f"points: {self.points} is not 1 and a multiple of {DIVISOR}, so the slot would lie between "
                f"grid lines; take {below} or {below + DIVISOR}"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return temperature and flux of the edges, 0 elsewhere, and the solution; the slot is masked."""
        height = round(HEIGHT * (self.points - 1)) + 1
        axes = (Axis("y", height, length=HEIGHT), Axis("x", self.points, length=1.0))
        variables = dict.fromkeys(("edge_temperature", "edge_flux", "u"), "1")
        return FieldsInfo(variables, axes, TimeAxis(1, ""), is_masked=True)

    def coordinates(self) -> dict[str, Float[Tensor, "_"]]:
        """Return distances from the middle of the plate: y from -0.8 to 0.8, x from -0.5 to 0.5."""
        return {
            axis.name: implied_coordinates(axis) - (axis.length or 0) / 2 for axis in self.describe().axes
        }

    def mask(self) -> Bool[np.ndarray, "y x"]:
        """Return where nodes lie in the plate or on its edges, those of the slot included."""
        return _plate(self.points).mask.copy()

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Return the two edges; nothing is drawn but the varied options. The slot holds NaN."""
        temperature = np.where(_plate(self.points).mask, 0.0, np.nan)
        flux = temperature.copy()
        temperature[:, 0] = parameters.get("temperature", self.temperature)
        flux[:, -1] = parameters.get("flux", self.flux)
        return {"edge_temperature": temperature, "edge_flux": flux}

    def problem(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], parameters: Mapping[str, float]
    ) -> LinearProblem:
        """Return the balance of heat of every node right of the left edge."""
        plate = _plate(self.points)
        T, q = given["edge_temperature"][:, 0], given["edge_flux"][:, -1]
        return LinearProblem(plate.matrix, plate.inflow @ q - plate.coupling @ T)

    def solution(
        self, given: Mapping[str, Float[np.ndarray, "y x"]], x: Float[np.ndarray, " unknown"]
    ) -> dict[str, Float[np.ndarray, "y x"]]:
        """Return u with its left edge; the slot holds NaN."""
        u = given["edge_temperature"].copy()
        u[_plate(self.points).unknown] = x
        return {"u": u}

    def profile(self, varied: Collection[str] = ()) -> Profile:
        """Return: symmetric, definite, one matrix for all samples."""
        return Profile((_plate(self.points).matrix.shape[0],), is_symmetric=True, is_shared=True)


@dataclass(frozen=True)
class _Plate:
    """K u = inflow q - coupling T with K the heat exchanged between the control volumes of nodes."""

    mask: Bool[np.ndarray, "y x"]
    unknown: Bool[np.ndarray, "y x"]
    matrix: sparse.csr_array
    """(unknown, unknown)."""
    coupling: sparse.csr_array
    """(unknown, node of the left edge)."""
    inflow: sparse.csr_array
    """(unknown, node of the right edge): length of the edge that belongs to a node."""


@lru_cache(maxsize=4)
def _plate(points: int) -> _Plate:
    cells = _cells(points)
    mask = _touched(cells)
    unknown = mask.copy()
    unknown[:, 0] = False
    left = np.zeros_like(mask)
    left[:, 0] = True
    K = _exchange(cells)
    rows, height = unknown.ravel().nonzero()[0], mask.shape[0]
    share = np.full(height, 1.0 / (points - 1))
    share[[0, -1]] /= 2
    number = np.cumsum(unknown.ravel()).reshape(mask.shape)[:, -1] - 1
    inflow = sparse.csr_array((share, (number, np.arange(height))), shape=(rows.size, height))
    K_rows = K[rows]
    return _Plate(mask, unknown, K_rows[:, rows], K_rows[:, left.ravel().nonzero()[0]], inflow)


def _cells(points: int) -> Bool[np.ndarray, "y_cell x_cell"]:
    """Return which squares between four nodes lie in the plate and not in the slot."""
    n = points - 1
    x, y = (np.arange(n) + 0.5) / n, (np.arange(round(HEIGHT * n)) + 0.5) / n
    in_x = (x > SLOT_X[0]) & (x < SLOT_X[1])
    in_y = (y > SLOT_Y[0]) & (y < SLOT_Y[1])
    return ~(in_y[:, None] & in_x[None, :])


def _touched(cells: Bool[np.ndarray, "y_cell x_cell"]) -> Bool[np.ndarray, "y x"]:
    """Return which nodes are the corner of a square of the plate."""
    around = np.pad(cells, 1)
    return np.asarray(around[:-1, :-1] | around[:-1, 1:] | around[1:, :-1] | around[1:, 1:])


def _exchange(cells: Bool[np.ndarray, "y_cell x_cell"]) -> sparse.csr_array:
    """Return K with (K u)_i = Σ_j w_ij (u_i - u_j), w half the number of squares beside the link of i and j.

    A link of length h crosses a face of length h/2 in each square: the spacing cancels. The slot and the
    insulated edges need no more than the missing squares.
    """
    height, width = cells.shape
    node = np.arange((height + 1) * (width + 1)).reshape(height + 1, width + 1)
    squares = cells.astype(float)
    beside = np.pad(squares, ((1, 1), (0, 0))), np.pad(squares, ((0, 0), (1, 1)))
    weights = np.concatenate(
        [((beside[0][:-1] + beside[0][1:]) / 2).ravel(), ((beside[1][:, :-1] + beside[1][:, 1:]) / 2).ravel()]
    )
    ends = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel(), node[:, 1:].ravel(), node[1:].ravel()])
    links = np.tile(np.arange(weights.size), 2)
    signs = np.repeat([1.0, -1.0], weights.size)
    difference = sparse.csr_array((signs, (links, ends)), shape=(weights.size, node.size))[weights > 0]
    weight = sparse.diags_array(weights[weights > 0])
    return sparse.csr_array(difference.T @ weight @ difference)
