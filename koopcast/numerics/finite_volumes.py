"""Finite volumes for -div(a grad u) + b·grad u + c u on a box, with nodes on the grid and values held at
its ends.

An operator is a stencil: an array `(entry, *grid)` over the unknown (interior) nodes, whose entries multiply
the values of a node's neighbours in ascending order of the unknowns: one before along each axis from the
first on, the node itself at the centre, one after along each axis from the last back. Stencils add.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float, Int

from koopcast.linear import Box, Transform

Averaging = Literal["harmonic", "arithmetic"]
"""Of a coefficient, from two nodes to the face between them."""
Upwinding = Literal["central", "upwind"]


def diffusion(
    a: Float[np.ndarray, "*all"], spacings: Sequence[float], averaging: Averaging = "harmonic"
) -> Float[np.ndarray, "entry *grid"]:
    """Return the stencil of -div(a grad u), conservative: what leaves a cell through a face enters the next.

    Args:
        a: At all nodes, ends included.
        spacings: Distance of nodes along each axis.
        averaging: Harmonic is exact where a jumps half-way between two nodes and u varies across the jump.
    """
    stencil = _empty(a.shape)
    centre = a.ndim
    stencil[centre] = 0.0
    for axis, h in enumerate(spacings):
        faces = _faces(a, axis, averaging) / h**2
        before, after = _halves(faces, axis)
        stencil[axis] = -before
        stencil[-1 - axis] = -after
        stencil[centre] += before
        stencil[centre] += after
    return stencil


def _faces(a: Float[np.ndarray, "*all"], axis: int, averaging: Averaging) -> Float[np.ndarray, "*faces"]:
    """Return means over neighbours along one axis, at the interior of the others."""
    inner = tuple(slice(None) if other == axis else slice(1, -1) for other in range(a.ndim))
    first, second = _halves(a[inner], axis)
    if averaging == "arithmetic":
        return np.asarray((first + second) / 2)
    return np.asarray(2 * first * second / (first + second))


def _halves(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all but the last, and all but the first, along one axis."""
    leading = (slice(None),) * axis
    return values[(*leading, slice(None, -1))], values[(*leading, slice(1, None))]


def convection(
    velocity: Sequence[float],
    grid: tuple[int, ...],
    spacings: Sequence[float],
    scheme: Upwinding = "central",
) -> Float[np.ndarray, "entry *grid"]:
    """Return the stencil of b·grad u: central, of second order, or upwind, of first and free of wiggles."""
    stencil = np.zeros((2 * len(grid) + 1, *grid))
    centre = len(grid)
    for axis, (b, h) in enumerate(zip(velocity, spacings, strict=True)):
        # Upwind is central plus the diffusion |b| h / 2.
        added = abs(b) / (2 * h) if scheme == "upwind" else 0.0
        stencil[axis] = -b / (2 * h) - added
        stencil[-1 - axis] = b / (2 * h) - added
        stencil[centre] += 2 * added
    return stencil


def add_reaction(
    stencil: Float[np.ndarray, "entry *grid"], c: float | Float[np.ndarray, "*grid"]
) -> Float[np.ndarray, "entry *grid"]:
    """Return the stencil with c u added; c at the interior nodes."""
    result = stencil.copy()
    result[len(stencil) // 2] += c
    return result


def assemble(stencil: Float[np.ndarray, "entry *grid"]) -> sparse.csr_array:
    """Return the matrix over the unknowns, in C order, links to held values left out.

    The pattern is made once a grid: matrices of one grid share its index arrays, which nobody may change.
    """
    pick, columns, starts = _pattern(stencil.shape[1:])
    size = starts.shape[0] - 1
    matrix = sparse.csr_array((stencil.ravel()[pick], columns, starts), shape=(size, size), copy=False)
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix


def held_load(
    stencil: Float[np.ndarray, "entry *grid"], held: Float[np.ndarray, "*all"]
) -> Float[np.ndarray, " unknown"]:
    """Return what values held at the ends add to the right-hand side; interior values do not matter."""
    links = ~_inside(stencil.shape[1:])
    values = np.where(links, stencil, 0.0) * _neighbours(held)
    return np.asarray(-values.sum(axis=0).ravel())


def _neighbours(values: Float[np.ndarray, "*all"]) -> Float[np.ndarray, "entry *grid"]:
    """Return values at the places that the entries of a stencil multiply."""
    places = [
        tuple(slice(1 + step, size - 1 + step) for step, size in zip(offset, values.shape, strict=True))
        for offset in _offsets(values.ndim).tolist()
    ]
    return np.stack([values[place] for place in places])


def _offsets(dimension: int) -> Int[np.ndarray, "entry axis"]:
    """Return the places of the entries of a stencil relative to their node."""
    steps = np.eye(dimension, dtype=int)
    return np.concatenate((-steps, 0 * steps[:1], steps[::-1]))


@lru_cache(maxsize=16)
def _inside(grid: tuple[int, ...]) -> Bool[np.ndarray, "entry *grid"]:
    """Return which entries of a stencil point at unknowns."""
    held = np.zeros([size + 2 for size in grid])
    held[(slice(1, -1),) * len(grid)] = 1.0
    return _neighbours(held) > 0


@lru_cache(maxsize=16)
def _pattern(
    grid: tuple[int, ...],
) -> tuple[Int[np.ndarray, " entry"], Int[np.ndarray, " entry"], Int[np.ndarray, " row"]]:
    """Return, row by row, places in the flat stencil, columns, and where rows start."""
    size = int(np.prod(grid))
    inside = np.moveaxis(_inside(grid), 0, -1).reshape(size, -1)
    rows, entries = np.nonzero(inside)
    strides = np.cumprod([1, *grid[:0:-1]])[::-1]
    shifts = _offsets(len(grid)) @ strides
    starts = np.concatenate(([0], np.cumsum(inside.sum(axis=1))))
    return entries * size + rows, (rows + shifts[entries]).astype(np.int32), starts.astype(np.int32)


def _empty(shape: tuple[int, ...]) -> Float[np.ndarray, "entry *grid"]:
    return np.empty((2 * len(shape) + 1, *(size - 2 for size in shape)))


def second_difference(transform: Transform, size: int, spacing: float) -> Float[np.ndarray, " mode"]:
    """Return the eigenvalues 4/h² sin²(θ/2) of -u'' by second differences, in the order of the modes.

    Dirichlet: n unknown nodes between two held ones, θ = π k/(n + 1), k = 1..n, sines (DST-I). Neumann: n
    cells, θ = π k/n, k = 0..n-1, cosines (DCT-II). Periodic: n nodes, θ = 2π k/n, k = 0..n-1 (FFT).
    """
    k = np.arange(size)
    angle = {
        "dirichlet": np.pi * (k + 1) / (size + 1),
        "neumann": np.pi * k / size,
        "periodic": 2 * np.pi * k / size,
    }[transform]
    return np.asarray(4 / spacing**2 * np.sin(angle / 2) ** 2)


def laplacian_box(
    transforms: Sequence[Transform],
    grid: tuple[int, ...],
    spacings: Sequence[float],
    scale: float = 1.0,
    shift: float = 0.0,
) -> Box:
    """Return the box operator -scale Δ + shift."""
    eigenvalues = np.zeros(grid)
    for axis, (transform, size, h) in enumerate(zip(transforms, grid, spacings, strict=True)):
        along = second_difference(transform, size, h)
        eigenvalues = eigenvalues + along.reshape([-1 if other == axis else 1 for other in range(len(grid))])
    return Box(tuple(transforms), scale * eigenvalues + shift)
