"""Leading eigenpairs of symmetric matrices."""

import torch
from jaxtyping import Float
from torch import Tensor

DENSE_LIMIT = 400
"""Up to this size all eigenpairs are computed (LAPACK)."""
BLOCK = 8
ACCURACY = 1e-12
"""‖A v - λ v‖ of the found pairs, as a share of the largest eigenvalue."""


def leading_eigenpairs(
    A: Float[Tensor, "n n"], count: int
) -> tuple[Float[Tensor, " rank"], Float[Tensor, "n rank"]]:
    """Return the largest eigenvalues of a symmetric semi-definite matrix, falling, and their eigenvectors.

    Of a large matrix a few are found by block Lanczos iteration from a fixed start, with all directions kept
    orthogonal: few passes over the matrix where eigenvalues fall fast. The largest entry of each vector is
    positive.
    """
    size = len(A)
    count = min(count, size)
    found = None if size <= DENSE_LIMIT or 8 * count > size else _block_lanczos(A, count)
    values, V = torch.linalg.eigh(A) if found is None else found
    values, V = values[-count:].flip(0), V[:, -count:].flip(1)
    largest = V.gather(0, V.abs().argmax(dim=0, keepdim=True))
    return values, V * largest.sign()


def _block_lanczos(A: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    """Return the pairs, rising; None where half of the space was not enough."""
    size, most = len(A), len(A) // 2
    Q, images = A.new_empty(size, most), A.new_empty(size, most)
    new = torch.randn(size, BLOCK, generator=torch.Generator().manual_seed(0), dtype=A.dtype)
    used = 0
    while used + BLOCK <= most:
        kept = Q[:, :used]
        for _ in range(2):  # once leaves round-off along what is there
            new = torch.linalg.qr(new - kept @ (kept.mT @ new)).Q
        Q[:, used : used + BLOCK], images[:, used : used + BLOCK] = new, A @ new
        new = images[:, used : used + BLOCK]
        used += BLOCK
        if used < count + BLOCK:
            continue
        # Rayleigh-Ritz in the span of all blocks so far.
        values, S = torch.linalg.eigh(Q[:, :used].mT @ images[:, :used])
        values, S = values[-count:], S[:, -count:]
        V = Q[:, :used] @ S
        residual = torch.linalg.vector_norm(images[:, :used] @ S - V * values, dim=0)
        if bool((residual <= ACCURACY * values[-1].abs()).all()):
            return values, V
    return None
