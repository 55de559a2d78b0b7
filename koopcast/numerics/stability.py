"""Maps whose eigenvalues are drawn into the unit circle."""

import torch
from jaxtyping import Float
from scipy import linalg
from torch import Tensor


def stabilised(K: Float[Tensor, "state state"]) -> Float[Tensor, "state state"]:
    """Return K with each eigenvalue of modulus above 1 divided by its modulus.

    In the real Schur form K = Q T Qᵀ the diagonal blocks of T, one eigenvalue or a conjugate pair each, are
    scaled; Q and the part of T above them stay. It needs no full set of eigenvectors. Powers of the result do
    not grow exponentially; where eigenvalues meet on the circle, they may still grow with the exponent.
    """
    T, Q = linalg.schur(K.numpy(), output="real")
    row = 0
    while row < len(T):
        size = 2 if row + 1 < len(T) and T[row + 1, row] != 0 else 1
        block = slice(row, row + size)
        modulus = abs(linalg.eigvals(T[block, block])).max()
        T[block, block] /= max(1.0, modulus)
        row += size
    return torch.from_numpy(Q @ T @ Q.T)
