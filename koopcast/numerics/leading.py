"""Leading eigenpairs of symmetric matrices."""

import torch
from jaxtyping import Float
from torch import Tensor

DENSE_LIMIT = 400
"""Up to this size all eigenpairs are computed (LAPACK)."""
BLOCK = 16
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
    """Return the pairs, rising; None where half of the space was not enough.

    Vectors are rows here: products from the left read the matrix as it lies in memory.
    """
    size, most = len(A), len(A) // 2
    Q, images = A.new_empty(most, size), A.new_empty(most, size)
    new = torch.randn(BLOCK, size, generator=torch.Generator().manual_seed(0), dtype=A.dtype)
    used = 0
    while used + BLOCK <= most:
        for _ in range(2):  # once leaves round-off along what is there
            new = torch.linalg.qr((new - (new @ Q[:used].mT) @ Q[:used]).mT).Q.mT
        Q[used : used + BLOCK], images[used : used + BLOCK] = new, new @ A
        new = images[used : used + BLOCK]
        used += BLOCK
        if used < count + BLOCK:
            continue
        # Rayleigh-Ritz in the span of all blocks so far.
        values, S = torch.linalg.eigh(images[:used] @ Q[:used].mT)
        values, S = values[-count:], S[:, -count:].mT
        V = S @ Q[:used]
        residual = torch.linalg.vector_norm(S @ images[:used] - values[:, None] * V, dim=1)
        if bool((residual <= ACCURACY * values[-1].abs()).all()):
            return values, V.mT.contiguous()
    return None
