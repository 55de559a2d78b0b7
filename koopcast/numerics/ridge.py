"""Ridge regression with a penalty that does not depend on units or on the number of rows."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Ridge:
    """Y ≈ X B, and what is left."""

    coefficients: Float[Tensor, "feature target"]
    residual: Float[Tensor, "row target"]
    degrees_of_freedom: float
    """Trace of the matrix that maps Y to its fit: rows spent on the coefficients."""


def ridge_regression(X: Float[Tensor, "row feature"], Y: Float[Tensor, "row target"], ridge: float) -> Ridge:
    """Return the minimiser of ‖X B - Y‖² + λ‖B‖² with λ = ridge · trace(XᵀX) / feature.

    λ is `ridge` times the mean eigenvalue of XᵀX, so `ridge` is a pure number: scaling X or repeating its
    rows leaves the fit as it is. With ridge = 0 it is the least-squares solution of smallest norm.
    """
    U, singular, Vh = torch.linalg.svd(X, full_matrices=False)
    penalty = ridge * singular.square().sum() / X.shape[1]
    cutoff = singular.max() * max(X.shape) * torch.finfo(X.dtype).eps
    is_kept = singular > cutoff
    squared = singular.square() + penalty
    gain = torch.where(is_kept, singular / squared.clamp_min(torch.finfo(X.dtype).tiny), 0.0)
    coefficients = Vh.mT @ (gain[:, None] * (U.mT @ Y))
    return Ridge(coefficients, Y - X @ coefficients, float((gain * singular).sum()))


def reduced_rank_regression(
    X: Float[Tensor, "row feature"], Y: Float[Tensor, "row target"], ridge: float, rank: int
) -> Ridge:
    """Return the minimiser of the objective of `ridge_regression` among coefficients of at most this rank.

    With B̂ the minimiser without the limit the objective is a constant plus ‖A (B - B̂)‖² for AᵀA = XᵀX + λ:
    the best B is B̂ projected on the leading right singular vectors of A B̂. The degrees of freedom count in
    the share of directions kept.
    """
    fit = ridge_regression(X, Y, ridge)
    penalty = ridge * X.square().sum() / X.shape[1]
    image = torch.cat([X @ fit.coefficients, penalty.sqrt() * fit.coefficients])
    _, _, Vh = torch.linalg.svd(torch.linalg.qr(image, mode="r").R)
    V = Vh[:rank].mH
    coefficients = fit.coefficients @ V @ V.mT
    share = min(1.0, rank / Y.shape[1])
    return Ridge(coefficients, Y - X @ coefficients, share * fit.degrees_of_freedom)


def covariance_factor(residual: Float[Tensor, "row target"], degrees_of_freedom: float) -> Tensor:
    """Return F `(target, rank)` with F Fᵀ = residualᵀ residual / (rows - degrees of freedom).

    Directions below round-off are dropped; at least one column stays. The denominator is never below 1.
    """
    rows = residual.shape[0]
    triangle = torch.linalg.qr(residual, mode="r").R
    _, singular, Vh = torch.linalg.svd(
        triangle / max(1.0, rows - degrees_of_freedom) ** 0.5, full_matrices=False
    )
    cutoff = singular.max() * max(residual.shape) * torch.finfo(residual.dtype).eps
    keep = max(1, int((singular > cutoff).sum()))
    factor: Tensor = (singular[:keep, None] * Vh[:keep]).mT
    return factor.contiguous()
