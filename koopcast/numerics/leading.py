"""Leading eigenpairs of symmetric matrices."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh
from torch import Tensor

DENSE_LIMIT = 600
"""Up to this size all eigenpairs are computed (LAPACK)."""


def leading_eigenpairs(
    A: Float[Tensor, "n n"], count: int
) -> tuple[Float[Tensor, " rank"], Float[Tensor, "n rank"]]:
    """Return the largest eigenvalues of a symmetric matrix, falling, and their eigenvectors.

    Of a large matrix a few are found by Lanczos iteration from a fixed start, to machine precision. The
    largest entry of each vector is positive.
    """
    size = len(A)
    count = min(count, size)
    if size <= DENSE_LIMIT or 5 * count > size:
        values, V = eigh(A.numpy(), subset_by_index=(size - count, size - 1))
    else:
        start = np.random.default_rng(0).standard_normal(size)
        values, V = eigsh(A.numpy(), k=count, which="LA", v0=start)
        order = np.argsort(values)
        values, V = values[order], V[:, order]
    values, V = values[::-1].copy(), V[:, ::-1].copy()
    V *= np.sign(V[np.abs(V).argmax(axis=0), np.arange(count)])
    return torch.from_numpy(values), torch.from_numpy(V)
