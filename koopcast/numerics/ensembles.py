"""Anomalies, random rotations and whitened innovations of ensembles."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.numerics.arrays import normal


def split(ensemble: Float[Tensor, "batch member state"]) -> tuple[Tensor, Tensor]:
    """Return the mean `(batch, 1, state)` and the anomalies."""
    mean = ensemble.mean(dim=1, keepdim=True)
    return mean, ensemble - mean


@cache
@torch.inference_mode(False)
def mean_and_contrasts(members: int, device: torch.device) -> Float[Tensor, "member member"]:
    """Return a matrix whose first row takes the mean and whose other rows are an orthonormal basis of its
    complement.

    The basis is Helmert's: row k compares member k with the mean of those before it.
    """
    size = torch.arange(1, members, dtype=torch.float64, device=device)
    contrasts = torch.ones(members - 1, members, dtype=torch.float64, device=device).tril()
    contrasts[size.long() - 1, size.long()] = -size
    contrasts /= (size * (size + 1)).sqrt()[:, None]
    mean = torch.full((1, members), 1 / members, dtype=torch.float64, device=device)
    return torch.cat((mean, contrasts))


def haar(batch: int, size: int, generator: torch.Generator) -> Float[Tensor, "batch size size"]:
    """Draw orthogonal matrices uniformly: Q of Gaussian ones' QR with the diagonal of R made positive."""
    Q, R = torch.linalg.qr(normal(batch, size, size, generator=generator))
    uniform: Tensor = Q * R.diagonal(dim1=1, dim2=2).sign()[:, None]
    return uniform


def rotated(
    anomalies: Float[Tensor, "batch member state"], generator: torch.Generator
) -> Float[Tensor, "batch member state"]:
    """Return U A with a random orthogonal U that keeps the mean: U = V diag(1, Q) Vᵀ, the first column of V
    constant.
    """
    batch, members, _ = anomalies.shape
    V = mean_and_contrasts(members, anomalies.device)[1:].expand(batch, -1, -1)
    return V.mT @ (haar(batch, members - 1, generator) @ (V @ anomalies))


def inverse_and_root(
    M: Float[Tensor, "*batch n n"], scale: float
) -> tuple[Float[Tensor, "*batch n n"], Float[Tensor, "*batch n n"]]:
    """Return M⁻¹ and √scale M^{-1/2}, the symmetric root, of positive definite matrices."""
    eigenvalues, V = torch.linalg.eigh(M)
    return (V / eigenvalues[..., None, :]) @ V.mT, (V * (scale / eigenvalues).sqrt()[..., None, :]) @ V.mT
