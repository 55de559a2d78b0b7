"""Ridge regression in the space of a kernel, its penalty chosen by rows left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Judges = tuple[Float[Tensor, "judge row"], Float[Tensor, "judge target"]]


@dataclass(frozen=True)
class KernelRidge:
    """u(x) = Σ_i k(x, x_i) c_i."""

    coefficients: Float[Tensor, "row target"]
    ridge: float
    """The penalty that was chosen."""
    errors: Float[Tensor, " ridge"]
    """Relative error of each penalty on the judges, or on each row left out in turn."""


def kernel_ridge(
    gram: Float[Tensor, "row row"],
    Y: Float[Tensor, "row target"],
    ridges: Sequence[float],
    *,
    weights: Float[Tensor, " row"] | None = None,
    judges: Judges | None = None,
) -> KernelRidge:
    """Return the minimiser of Σ_i w_i ‖y_i - u(x_i)‖² + λ‖u‖², λ = ridge · (mean of k(x, x)).

    With s = √w it is c = s ∘ (S + λ)⁻¹ (s ∘ Y), S = s sᵀ ∘ G = V D Vᵀ, for all penalties from one
    decomposition. The error of row i without row i is that of the fit over 1 - [V D/(D + λ) Vᵀ]_ii.

    Args:
        gram: G, symmetric and positive semi-definite.
        Y: What is to be found at the rows.
        ridges: Penalties to choose from, in the order of preference where they are alike; 0: least squares.
        weights: w; None: all 1.
        judges: Kernel between other points and the rows, and their targets; None: each row left out.
    """
    s = torch.ones_like(Y[:, :1]) if weights is None else weights.to(Y)[:, None].sqrt()
    D, V = torch.linalg.eigh(s * gram * s.mT)
    cutoff = D.max().clamp_min(0) * len(D) * torch.finfo(D.dtype).eps
    D = torch.where(cutoff < D, D, 0.0)
    projected, scale = V.mT @ (s * Y), gram.diagonal().mean()
    found, errors = [], []
    for ridge in ridges:
        penalised = D + ridge * scale
        inverse = torch.where(penalised > 0, 1 / penalised.clamp_min(torch.finfo(D.dtype).tiny), 0.0)
        c = s * (V @ (inverse[:, None] * projected))
        found.append(c)
        if judges is None:
            leverage = V.square() @ (D * inverse)
            residual = (Y - gram @ c) / (1 - leverage).clamp_min(torch.finfo(D.dtype).eps)[:, None]
            errors.append((s * residual).norm() / (s * Y).norm())
        else:
            errors.append((judges[1] - judges[0] @ c).norm() / judges[1].norm())
    best = int(torch.stack(errors).argmin())
    return KernelRidge(found[best], ridges[best], torch.stack(errors))
