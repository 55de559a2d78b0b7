"""Ridge regressions of the same rows with several penalties, from one decomposition, in double precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

GRAM_LIMIT = 1e-10
"""Smallest penalty that a Gram matrix, whose rounding is squared, still resolves; below it the singular value
decomposition takes over."""
ITERATIONS = 60
"""Of the power method for extreme eigenvalues; condition numbers are good to a few per cent."""


@dataclass(frozen=True)
class RidgePath:
    """Y ≈ X B with one B a penalty."""

    coefficients: Float[Tensor, "ridge feature target"]
    condition_number: Float[Tensor, " ridge"]
    """√((σ_max² + λ) / (σ_min² + λ)), what the solution multiplies rounding with; σ are the singular values
    of X that rounding leaves. With ridge = 0 it is that of X."""
    rank: int | None = None
    """How many of them rounding leaves; None where they were not computed."""


def ridge_path(
    X: Float[Tensor, "row feature"], Y: Float[Tensor, "row target"], ridges: Sequence[float]
) -> RidgePath:
    """Return the minimisers of ‖X B - Y‖² + λ‖B‖², λ = ridge · ‖X‖² / feature, as `ridge_regression` does.

    Penalties of 1e-10 and more are solved by Cholesky factors of the smaller of XᵀX + λI (primal) and
    XXᵀ + λI (dual, B = Xᵀ α), smaller ones and matrices without a factor by singular values.
    """
    if min(ridges) >= GRAM_LIMIT and (found := _by_gram(X, Y, ridges)) is not None:
        return found
    return _by_singular_values(X, Y, ridges)


def _by_singular_values(X: Tensor, Y: Tensor, ridges: Sequence[float]) -> RidgePath:
    U, singular, Vh = torch.linalg.svd(X, full_matrices=False)
    cutoff = singular.max() * max(X.shape) * torch.finfo(X.dtype).eps
    if float(cutoff) == 0:
        nothing = X.new_zeros(len(ridges), X.shape[1], Y.shape[1])
        return RidgePath(nothing, X.new_ones(len(ridges)), 0)
    U, singular, Vh = (part[..., singular > cutoff] for part in (U, singular, Vh.mT))
    projected = U.mT @ Y
    scale = singular.square().sum() / X.shape[1]
    coefficients, conditions = [], []
    for ridge in ridges:
        squared = singular.square() + ridge * scale
        coefficients.append(Vh @ ((singular / squared)[:, None] * projected))
        least = squared.min() if len(squared) == min(X.shape) or ridge == 0 else ridge * scale
        conditions.append((squared.max() / least).sqrt())
    return RidgePath(torch.stack(coefficients), torch.stack(conditions), len(singular))


def _by_gram(X: Tensor, Y: Tensor, ridges: Sequence[float]) -> RidgePath | None:
    """Return the path, or None where rounding leaves a matrix that is not positive definite."""
    rows, features = X.shape
    is_dual = rows < features
    G = X @ X.mT if is_dual else X.mT @ X
    right = Y if is_dual else X.mT @ Y
    scale = G.diagonal().sum() / features
    largest = _largest_eigenvalue(G)
    coefficients, conditions = [], []
    for ridge in ridges:
        penalised = G.clone()
        penalised.diagonal().add_(ridge * scale)
        factor, fault = torch.linalg.cholesky_ex(penalised)
        if bool(fault):
            return None
        solved = torch.cholesky_solve(right, factor)
        coefficients.append(X.mT @ solved if is_dual else solved)
        # A dual problem has directions of zero, those that no row shows.
        least = ridge * scale if is_dual else _smallest_eigenvalue(factor)
        conditions.append(((largest + ridge * scale) / least).sqrt())
    return RidgePath(torch.stack(coefficients), torch.stack(conditions))


def _largest_eigenvalue(G: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    v = _start(G)
    for _ in range(ITERATIONS):
        v = torch.nn.functional.normalize(G @ v, dim=0)
    return (v * (G @ v)).sum()


def _smallest_eigenvalue(factor: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    v = _start(factor)
    for _ in range(ITERATIONS):
        v = torch.nn.functional.normalize(torch.cholesky_solve(v, factor), dim=0)
    return 1 / (v * torch.cholesky_solve(v, factor)).sum()


def _start(G: Float[Tensor, "n n"]) -> Float[Tensor, "n 1"]:
    """Return a vector that no symmetry of the problem is orthogonal to."""
    angles = torch.arange(1, len(G) + 1, dtype=G.dtype, device=G.device)
    return torch.sin(angles.square())[:, None]
