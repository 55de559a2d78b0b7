"""Linear systems as solvers see them: the matrix, what is known of it, and the outcome of a solve."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float

Transform = Literal["periodic", "dirichlet", "neumann"]
"""Boundary condition of an axis, and with it the transform that diagonalises its second difference: FFT,
DST-I over interior nodes, DCT-II over cells."""


@dataclass(frozen=True)
class Box:
    """An operator with constant coefficients on a box: diagonal in sines, cosines or exponentials."""

    transforms: tuple[Transform, ...]
    """One an axis of the grid of unknowns, in C order."""
    eigenvalues: Float[np.ndarray, "*grid"]
    """Of the matrix itself, in the order of the transforms' modes."""


@dataclass(frozen=True)
class Profile:
    """What all matrices of a sequence have in common, known before the first is assembled."""

    grid: tuple[int, ...]
    """Unknowns along each axis; their product is the size of the system (1-D where there is no grid)."""
    is_symmetric: bool
    is_definite: bool = True
    """Positive definite, in its symmetric part."""
    is_shared: bool = False
    """Whether one matrix serves all samples, and only right-hand sides differ."""
    box: Box | None = None
    """Set where the matrix has constant coefficients on a box and is shared."""
    has_boxes: bool = False
    """Whether every problem states its own matrix as a box operator."""
    nearby: tuple[Transform, ...] | None = None
    """Transforms of the box operator that every problem brings as `nearby`; None where none is promised."""

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return int(np.prod(self.grid))


@dataclass(frozen=True)
class LinearProblem:
    """A x = b."""

    matrix: sparse.csr_array
    """(unknown, unknown), float64; the very same object where the profile says that it is shared."""
    rhs: Float[np.ndarray, " unknown"]
    features: Float[np.ndarray, " feature"] = field(default_factory=lambda: np.zeros(0))
    """What fixes the matrix (coefficient field, flattened, or a few numbers): neighbours in it are alike."""
    feature_grid: tuple[int, ...] | None = None
    """Shape of `features` where they are a field."""
    context: dict[str, float] = field(default_factory=dict)
    """Named numbers of the sample, for solvers that learn from them."""
    box: Box | None = None
    """This very matrix in closed form, where it has one that differs from sample to sample."""
    nearby: Box | None = None
    """A box operator that is spectrally close, for preconditioning."""


class Status(StrEnum):
    """How a solve ended."""

    CONVERGED = "converged"
    OUT_OF_BUDGET = "out of budget"
    BROKE_DOWN = "broke down"


@dataclass(frozen=True)
class Solution:
    """The outcome of a solve."""

    value: Float[np.ndarray, " unknown"]
    status: Status
    residual: float
    """||b - A x|| / ||b||, computed from the matrix at the end; 0 for b = 0."""
    iterations: int = 0
    """Steps of the method; 0 for direct ones."""
    applications: int = 0
    """Products with A, those for residuals and recycling included."""
    figures: dict[str, float] = field(default_factory=dict)
    """What else is worth a column: `omega`, `delta`, ..."""
