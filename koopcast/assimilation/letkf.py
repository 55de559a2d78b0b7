"""The local ensemble transform Kalman filter."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting, whitened
from koopcast.assimilation.ensemble import Finish, LocalizedSpec, Transform, diagonal_figures
from koopcast.assimilation.etkf import symmetric
from koopcast.assimilation.localization import AnyLocalization, GaspariCohnSpec, Neighbours, Taper
from koopcast.numerics.ensembles import Roots, split
from koopcast.numerics.krylov import inverse_and_root_of

CHUNK_BYTES = 64 * 2**20
"""Memory of the local matrices that are worked on at once."""
MOST_PAIRS = 2**26
"""Pairs of a grid point and an observation up to which weights are made for all of them."""
TILE = 6
"""Points along each axis of a tile: larger ones have more observations that act on few of their points,
smaller ones more work for each."""
ITERATED, MANY = 24, 400
"""Order, and number, of local matrices from which on their eigenvectors cost more than Lanczos' method."""
TOLERANCE, STEPS = 1e-10, 60
"""Of Lanczos' method: relative residual, and dimension of a Krylov space at most."""


class LETKFSpec(LocalizedSpec):
    """An ETKF of its own for every grid point, in which far observations have larger errors."""

    kind: Literal["letkf"] = "letkf"
    localization: AnyLocalization = Field(default=GaspariCohnSpec(), validate_default=True)
    """Taper on the weights of observations, one over their error variances."""

    runs_side_by_side = True
    reference = "Hunt, Kostelich and Szunyogh 2007; every grid point is a local domain"

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the local transforms, or the ETKF where every weight is 1."""
        if self.localization.is_global():
            return partial(symmetric, finish=finish)
        return LocalTransform(Taper.of(self.localization, setting), setting.num_channels, finish)


class LocalTransform:
    """Transforms of all grid points, many at once.

    At point x with weights ρ_x: M_x = (N-1) I + C diag(ρ_x) Cᵀ, w_x = M_x⁻¹ C (ρ_x ∘ δ), T_x = √(N-1)
    M_x^{-1/2}. Only the products M_x⁻¹ A_x and M_x^{-1/2} A_x with the few columns of a point are made.
    """

    def __init__(self, taper: Taper, num_channels: int, finish: Finish) -> None:
        self._taper, self._num_channels, self._finish = taper, num_channels, finish

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis, every grid point by its own transform."""
        assert observed.cell is not None, "localised filters are given the observed cells"
        batch, members, _ = ensemble.shape
        mean, A = split(ensemble)
        C, delta = whitened(observed)
        A = A.reshape(batch, members, -1, self._num_channels).transpose(1, 2)
        if self._taper.num_pairs(observed.cell) > MOST_PAIRS and self._taper.is_shared(observed.cell):
            increment, anomalies = _tiled(self._taper, observed.cell, C, delta, A)
        else:
            increment, anomalies = self._untiled(observed.cell, C, delta, A)
        anomalies = anomalies.transpose(1, 2).flatten(2)
        mean = mean + increment.flatten(1)[:, None]
        figures = diagonal_figures(anomalies, observed, C, delta)
        return Analysis(self._finish(mean, anomalies, ensemble, generator), figures)

    def _untiled(
        self,
        cell: Int[Tensor, "batch obs"],
        C: Float[Tensor, "batch member obs"],
        delta: Float[Tensor, "batch obs"],
        A: Float[Tensor, "batch point member channel"],
    ) -> "Part":
        near = self._taper.neighbours(cell)
        # Products of pairs of members pay where these are few.
        if C.shape[1] < near.place.shape[2] and C.shape[2] < 2 * near.place.shape[2]:
            parts = _dense(self._taper.to_points(cell), C, delta, A)
        else:
            parts = _sparse(near, C, delta, A)
        increment, anomalies = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return increment, anomalies


Part = tuple[Float[Tensor, "batch _ channel"], Float[Tensor, "batch _ member channel"]]
"""Increments of the mean, and new anomalies, of some grid points."""


def _tiled(taper: Taper, cell: Int[Tensor, "batch obs"], C: Tensor, delta: Tensor, A: Tensor) -> Part:
    """Return the part of all points, where pairs of points and observations are too many to hold: for one
    tile of points after another, with the observations near it alone.
    """
    batch, N, _ = C.shape
    increment, anomalies = torch.empty_like(A[:, :, 0]), torch.empty_like(A)
    most = max(1, CHUNK_BYTES // (24 * batch * N * N))
    points: list[Tensor] = []
    sums: list[Tensor] = []
    held = 0
    for tile in taper.tiles(cell, TILE):
        points.append(tile.points)
        sums.append(tile.weight @ _products(C[:, :, tile.near], delta[:, tile.near]))
        held += len(tile.points)
        if held >= most or tile.points[-1] == A.shape[1] - 1:
            here = torch.cat(points)
            increment[:, here], anomalies[:, here] = _local(*_summed(torch.cat(sums, dim=1), N), A[:, here])
            points, sums, held = [], [], 0
    return increment, anomalies


def _products(
    C: Float[Tensor, "batch member obs"], delta: Float[Tensor, "batch obs"]
) -> Float[Tensor, "batch obs sums"]:
    """Return the upper triangle of c cᵀ for each observation, then the N entries of c δ: one product with
    weights gives every M_x and every right-hand side.
    """
    N = C.shape[1]
    products = C.new_empty(C.shape[0], N * (N + 1) // 2 + N, C.shape[2])
    begin = 0
    for row in range(N):
        end = begin + N - row
        products[:, begin:end] = C[:, row : row + 1] * C[:, row:]
        begin = end
    products[:, begin:] = C * delta[:, None]
    return products.mT


def _summed(
    sums: Float[Tensor, "batch point sums"], members: int
) -> tuple[Float[Tensor, "batch point member member"], Float[Tensor, "batch point member"]]:
    """Return C diag(ρ) Cᵀ and C (ρ ∘ δ) from weighted sums of `_products`."""
    row, column = torch.triu_indices(members, members, device=sums.device)
    entry = torch.empty(members, members, dtype=torch.int64, device=sums.device)
    entry[row, column] = entry[column, row] = torch.arange(len(row), device=sums.device)
    gram = sums[..., entry.flatten()].unflatten(-1, (members, members))
    return gram, sums[..., len(row) :]


def _dense(
    rho: Float[Tensor, "_ point obs"],
    C: Tensor,
    delta: Tensor,
    A: Float[Tensor, "batch point member channel"],
) -> list[Part]:
    """Return the parts where most observations act on most points, and are more than the members."""
    batch, N, _ = C.shape
    products = _products(C, delta)
    return [
        _local(*_summed(rho[:, points] @ products, N), A[:, points])
        for points in _chunks(A.shape[1], 24 * batch * N * N)
    ]


def _sparse(near: Neighbours, C: Tensor, delta: Tensor, A: Tensor) -> list[Part]:
    """Return the parts where few observations act on a point: only these are gathered."""
    batch, N, _ = C.shape
    rows, count = C.mT.contiguous(), near.place.shape[2]
    experiment = torch.arange(batch, device=C.device)[:, None, None]
    parts = []
    for points in _chunks(A.shape[1], 16 * batch * N * (count + N + STEPS)):
        place, root = near.place[:, points], near.weight[:, points].sqrt()
        X = rows[experiment, place] * root[..., None]
        g = ((delta[experiment, place] * root)[..., None, :] @ X)[..., 0, :]
        if count < min(N, ITERATED):
            parts.append(_by_eigenvectors(Roots(X.mT), g, A[:, points]))
        else:
            parts.append(_local(X.mT @ X, g, A[:, points]))
    return parts


def _chunks(count: int, each: int) -> list[slice]:
    """Return slices of `count` points that need `each` bytes."""
    size = max(1, CHUNK_BYTES // each)
    return [slice(start, start + size) for start in range(0, count, size)]


def _local(
    gram: Float[Tensor, "batch point member member"],
    g: Float[Tensor, "batch point member"],
    A: Float[Tensor, "batch point member channel"],
) -> Part:
    """Return a part, given C diag(ρ) Cᵀ and C (ρ ∘ δ)."""
    N1 = A.shape[2] - 1
    if N1 + 1 < ITERATED and A.shape[0] * A.shape[1] < MANY:
        return _by_eigenvectors(Roots.of_gram(gram), g, A)
    M = (gram / N1).flatten(0, 1)
    largest = float(M.diagonal(dim1=1, dim2=2).sum(dim=1).max()) + 1
    M.diagonal(dim1=1, dim2=2).add_(1)
    columns = A.flatten(0, 1)
    found = inverse_and_root_of(lambda v: M @ v, columns, largest, tolerance=TOLERANCE, steps=STEPS)
    # M is divided by N-1 here.
    increment = (g.flatten(0, 1)[:, None] @ found.inverse)[:, 0] / N1
    anomalies = found.root
    if not bool(found.is_accurate.all()):
        left = ~found.is_accurate
        exact = _by_eigenvectors(
            Roots.of_gram(gram.flatten(0, 1)[None, left]), g.flatten(0, 1)[None, left], columns[None, left]
        )
        increment[left], anomalies[left] = exact[0][0], exact[1][0]
    shape = A.shape[:2]
    return increment.unflatten(0, shape), anomalies.unflatten(0, shape)


def _by_eigenvectors(roots: Roots, g: Tensor, A: Float[Tensor, "batch point member channel"]) -> Part:
    """Return a part by the spectrum of its local matrices."""
    N1 = A.shape[2] - 1
    z = torch.full(A.shape[:2], float(N1), dtype=A.dtype, device=A.device)
    inverse, root = roots.inverse_and_root(z, A)
    return (g[..., None, :] @ inverse)[..., 0, :], N1**0.5 * root
