"""Information of latent trajectories: contrastive and Gaussian mutual information, von Neumann entropy."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

JITTER = 1e-6
"""Share of the mean eigenvalue added to a covariance, so that its logarithm exists."""


def covariance(Z: Float[Tensor, "row latent"]) -> Float[Tensor, "latent latent"]:
    """Return the centred covariance of rows."""
    centred = Z - Z.mean(0)
    C: Tensor = centred.mT @ centred / max(1, len(Z) - 1)
    return C


def von_neumann_entropy(C: Float[Tensor, "latent latent"]) -> Float[Tensor, ""]:
    """Return S(P) = -tr(P log P) of P = C / tr C; exp(S) counts the directions that share the variance."""
    size = C.shape[0]
    jitter = JITTER * torch.eye(size, dtype=C.dtype, device=C.device) / size
    trace = C.diagonal().sum().clamp_min(torch.finfo(C.dtype).tiny)
    shares = torch.linalg.eigvalsh((C / trace + jitter) / (1 + JITTER))
    S: Tensor = torch.special.entr(shares.clamp_min(torch.finfo(C.dtype).tiny)).sum()
    return S


def info_nce(Z: Float[Tensor, "batch time latent"], neighbours: int, temperature: float) -> Float[Tensor, ""]:
    """Return the contrastive loss of latent windows, in nats; smaller: neighbours in time are told apart.

    For each time n with k neighbours on both sides in the window it is
    -log(Σ_{0<|j-n|≤k} e^{s_j} / Σ_{j≠n} e^{s_j}), s_j the cosine of z_n and z_j over the temperature.

    Args:
        Z: Windows; all times of one window but the anchor compete.
        neighbours: Times k on each side that count as positive.
        temperature: Of the similarities.
    """
    times, k = Z.shape[1], neighbours
    unit = torch.nn.functional.normalize(Z, dim=-1)
    similarity = unit[:, k : times - k] @ unit.mT / temperature
    is_anchor, is_positive = _pairs(times, k, Z.device)
    others = similarity.masked_fill(is_anchor, -math.inf)
    positives = similarity.masked_fill(~is_positive, -math.inf)
    return (others.logsumexp(-1) - positives.logsumexp(-1)).mean()


def gaussian_information(
    C: Float[Tensor, "latent latent"],
    K: Float[Tensor, "latent latent"],
    noise: Float[Tensor, "latent latent"],
    horizon: int = 1,
) -> Float[Tensor, ""]:
    """Return I(z_{t-n}; z_t) of z_t = z_{t-1} K + ε, ε ~ N(0, Σ), in nats.

    It is ½ log det(M + Kⁿᵀ C Kⁿ) - ½ log det M with M = Σ_{i<n} Kⁱᵀ Σ Kⁱ.

    Args:
        C: Covariance of z_{t-n}.
        K: The map of rows, z' = z K.
        noise: Σ, positive definite.
        horizon: Steps n.
    """
    M, power = torch.zeros_like(noise), torch.eye(len(K), dtype=K.dtype, device=K.device)
    for _ in range(horizon):
        M = M + power.mT @ noise @ power
        power = power @ K
    both: Tensor = torch.linalg.slogdet(M + power.mT @ C @ power).logabsdet
    alone: Tensor = torch.linalg.slogdet(M).logabsdet
    return (both - alone) / 2


def gaussian_divergence(
    mean: Float[Tensor, "*batch latent"],
    log_variance: Float[Tensor, "*batch latent"],
    prior_mean: Float[Tensor, "*batch latent"] | float,
    prior_log_variance: Float[Tensor, " latent"] | float,
) -> Float[Tensor, "*batch"]:
    """Return KL(q ‖ p) = -E log p - H(q) of Gaussians with independent entries, in nats.

    It is ½ Σ (σ²/Σ + (μ - m)²/Σ - 1 - log σ²/Σ) with q = N(μ, σ²) and p = N(m, Σ).
    """
    excess = log_variance - prior_log_variance
    p_precision = torch.exp(-torch.as_tensor(prior_log_variance, dtype=mean.dtype, device=mean.device))
    return (excess.exp() + (mean - prior_mean).square() * p_precision - 1 - excess).sum(-1) / 2


def _pairs(
    times: int, neighbours: int, device: torch.device
) -> tuple[Bool[Tensor, "anchor time"], Bool[Tensor, "anchor time"]]:
    """Return which time is the anchor of each row itself, and which are its neighbours."""
    every = torch.arange(times, device=device)
    distance = (every[neighbours : times - neighbours, None] - every).abs()
    return distance == 0, (distance > 0) & (distance <= neighbours)
