"""Leading singular directions of matrices that are read block by block."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

OVERSAMPLING = 16
MAX_PASSES = 10
TOLERANCE = 1e-11

RowBlocks = Callable[[], Iterable[Float[Tensor, "row value"]]]
"""Hands out all rows of a matrix in float64, block by block, once a call."""


def randomised_basis(
    blocks: RowBlocks, size: int, rank: int, generator: torch.Generator
) -> Float[Tensor, "value width"]:
    """Return an orthonormal basis that holds the leading right singular directions of a matrix of `size`
    columns.

    Subspace iteration Q ← orth(Aᵀ A Q) from a random start (Halko, Martinsson & Tropp 2011): a pass over the
    rows each, until the leading `rank` Ritz pairs of AᵀA leave a residual below round-off, at most ten. What
    is kept is `rank` + 16 columns. A basis of the whole space needs no pass.
    """
    width = rank + OVERSAMPLING
    if width >= size:
        return torch.eye(size, dtype=torch.float64)
    Q: Tensor = torch.linalg.qr(torch.randn(size, width, dtype=torch.float64, generator=generator)).Q
    for _ in range(MAX_PASSES):
        # The product with few rows is the faster one.
        transposed = torch.zeros(width, size, dtype=torch.float64)
        for A in blocks():
            transposed += (A @ Q).mT @ A
        G = transposed.mT
        squares, W = torch.linalg.eigh(Q.mT @ G)
        residual = torch.linalg.vector_norm(G @ W - (Q @ W) * squares, dim=0)[-rank:]
        Q = torch.linalg.qr(G).Q
        if float(residual.max()) <= TOLERANCE * float(squares[-1]):
            break
    return Q


def incremental_basis(blocks: RowBlocks, size: int, rank: int) -> Float[Tensor, "value width"]:
    """Return such a basis after a single pass: each block updates a truncated decomposition (Levey &
    Lindenbaum 2000).

    Exact up to round-off for rows of rank `rank` + 16 or less; of other rows what is cut off on the way is
    lost.
    """
    width = min(rank + OVERSAMPLING, size)
    kept = torch.zeros(0, size, dtype=torch.float64)
    for block in blocks():
        for part in block.split(width):
            # Rows σ vᵀ of what came before stand for all rows that were read.
            Q, R = torch.linalg.qr(torch.cat([kept, part]).mT)
            U, singular, _ = torch.linalg.svd(R)
            cutoff = singular[0] * size * torch.finfo(torch.float64).eps
            keep = min(width, int((singular > cutoff).sum()))
            kept = ((Q @ U[:, :keep]) * singular[:keep]).mT
    basis: Tensor = torch.linalg.qr(kept.mT).Q
    return basis
