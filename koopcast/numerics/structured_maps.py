"""Least-squares maps Y ≈ X Aᵀ of rows, among the matrices of one structure."""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

BATCH_NUMBERS = 2**24
"""Numbers of the small problems that are solved at once."""

Rows = Float[Tensor, "row value"]
Map = Float[Tensor, "value value"]


def orthogonal_map(X: Rows, Y: Rows) -> Map:
    """Return the orthogonal Procrustes solution A = U Vᵀ, with U Σ Vᵀ = YᵀX."""
    U, _, Vh = torch.linalg.svd(Y.mT @ X)
    A: Tensor = U @ Vh
    return A


def symmetric_map(X: Rows, Y: Rows, sign: int = 1) -> Map:
    """Return the best A with Aᵀ = sign · A; the smallest one where several are.

    With X = V Σ Uᵀ and N = Uᵀ Yᵀ X U it is, in the basis U, A_ij = (n_ij + sign · n_ji) / (σ_i² + σ_j²):
    there the part of the gradient of ‖Y - X Aᵀ‖² that keeps the structure vanishes.
    """
    _, singular, Uh = torch.linalg.svd(X, full_matrices=True)
    squares = torch.zeros(X.shape[1], dtype=X.dtype)
    squares[: len(singular)] = singular.square()
    N = Uh @ (Y.mT @ X) @ Uh.mT
    scale = squares[:, None] + squares
    is_known = scale > squares.max() * X.shape[1] * torch.finfo(X.dtype).eps
    A = torch.where(is_known, (N + sign * N.mT) / scale.where(is_known, 1.0), 0.0)
    result: Tensor = Uh.mT @ A @ Uh
    return result


def stencil_map(X: Rows, Y: Rows, neighbours: Int[Tensor, "value neighbour"]) -> Map:
    """Return the best A whose row i has entries at `neighbours[i]` alone (-1: none); the smallest where
    several are.
    """
    count = X.shape[1]
    padded = torch.cat([X, X.new_zeros(len(X), 1)], dim=1)
    A = X.new_zeros(count, count + 1)
    for rows in torch.arange(count).split(max(1, BATCH_NUMBERS // (len(X) * neighbours.shape[1]))):
        near = neighbours[rows]
        local = padded[:, near].movedim(1, 0)
        solution = torch.linalg.lstsq(local, Y[:, rows].mT[..., None], driver="gelsd").solution[..., 0]
        A[rows[:, None], near] = solution
    return A[:, :count]


def triangular_map(X: Rows, Y: Rows) -> Map:
    """Return the best upper triangular A: value i follows from values i and later ones.

    Xᵀ = R Q with R upper triangular; then A R = triu(Yᵀ Qᵀ). It needs rows that span all values.
    """
    # Reversing the columns turns the factorisation with R on the left into an ordinary one.
    Q, flipped = torch.linalg.qr(X.flip(1))
    R = flipped.mT.flip(0, 1)
    A: Tensor = torch.linalg.solve_triangular(R, torch.triu(Y.mT @ Q.flip(1)), upper=True, left=False)
    return A


def circulant_symbols(
    X: Float[Tensor, "row *grid channel"], Y: Float[Tensor, "row *grid channel"]
) -> Complex[Tensor, "*grid channel channel"]:
    """Return the best map that is equivariant to shifts along the grid, as a matrix for each wavenumber.

    In Fourier space each wavenumber is a problem of its own, ŷ = S x̂, of the size of the channels.
    """
    axes = tuple(range(1, X.dim() - 1))
    x, y = (torch.fft.fftn(values, dim=axes, norm="ortho").movedim(0, -2) for values in (X, Y))
    solution: Tensor = torch.linalg.lstsq(x, y, driver="gelsd").solution
    return solution.mT
