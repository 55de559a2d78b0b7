"""Truncated singular value decompositions and where to cut them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

DENSE_LIMIT = 1500
"""Up to this smaller side the decomposition is exact (LAPACK); beyond, a wanted rank is found by random
sampling."""
OVERSAMPLING = 16
POWER_ITERATIONS = 4

Factors = tuple[Float[Tensor, "row rank"], Float[Tensor, " rank"], Float[Tensor, "column rank"]]


def truncated_svd(A: Float[Tensor, "row column"], rank: int | None, generator: torch.Generator) -> Factors:
    """Return U, σ, V with A ≈ U diag(σ) Vᵀ, directions of round-off size dropped.

    Exact for small matrices and for `rank=None`; otherwise the randomised range finder of Halko, Martinsson
    & Tropp 2011 with orthogonalised power iterations. Signs are fixed (the largest entry of each v is
    positive), so that the result does not depend on the library.
    """
    if rank is None or min(A.shape) <= DENSE_LIMIT or rank + OVERSAMPLING >= min(A.shape):
        U, singular, Vh = _exact(A, rank)
    else:
        U, singular, Vh = _randomised(A, rank + OVERSAMPLING, generator)
    cutoff = singular[0] * max(A.shape) * torch.finfo(A.dtype).eps if len(singular) else 0.0
    keep = int((singular > cutoff).sum())
    keep = keep if rank is None else min(keep, rank)
    U, singular, V = U[:, :keep], singular[:keep], Vh[:keep].mT
    signs = column_signs(V)
    return U * signs, singular, V * signs


def column_signs(V: Float[Tensor, "column rank"]) -> Float[Tensor, "1 rank"]:
    """Return the sign of the largest entry of each column."""
    largest = V.gather(0, V.abs().argmax(dim=0, keepdim=True)) if V.shape[1] else V[:1]
    return largest.sign()


def optimal_rank(singular: Float[Tensor, " rank"], shape: tuple[int, int]) -> int:
    """Return how many singular values rise above white noise of unknown level (Gavish & Donoho 2014).

    The threshold is ω(β) times the median singular value, β the aspect ratio, ω(β) = λ*(β) / √μ(β), μ(β) the
    median of the Marchenko-Pastur distribution. `singular` may be truncated; the missing ones count as zero.
    """
    small, large = sorted(shape)
    padded = torch.zeros(small, dtype=singular.dtype)
    padded[: len(singular)] = singular
    threshold = noise_threshold(small / large) * float(padded.median())
    return int((singular > threshold).sum())


def noise_threshold(beta: float) -> float:
    """Return ω(β), the optimal hard threshold in units of the median singular value; ω(1) = 2.858."""
    root = math.sqrt(beta**2 + 14 * beta + 1)
    scale = math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root))
    return scale / math.sqrt(_marchenko_pastur_median(beta))


def _exact(
    A: Float[Tensor, "row column"], rank: int | None
) -> tuple[Float[Tensor, "row kept"], Float[Tensor, " rank"], Float[Tensor, "kept column"]]:
    """Return the factors, with all singular values and at most `rank` directions; of a matrix much longer on
    one side, by a QR factorisation of that side first.
    """
    if max(A.shape) < 2 * min(A.shape):
        U, singular, Vh = torch.linalg.svd(A, full_matrices=False)
        return U, singular, Vh
    is_wide = A.shape[0] < A.shape[1]
    Q, R = torch.linalg.qr(A.mT if is_wide else A)
    W, singular, Zh = torch.linalg.svd(R)
    long = Q @ W[:, :rank]
    return (Zh[:rank].mT, singular, long.mT) if is_wide else (long, singular, Zh[:rank])


def _randomised(
    A: Float[Tensor, "row column"], size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "row rank"], Float[Tensor, " rank"], Float[Tensor, "rank column"]]:
    probe = torch.randn(A.shape[1], size, dtype=A.dtype, generator=generator)
    Q = torch.linalg.qr(A @ probe).Q
    for _ in range(POWER_ITERATIONS):
        Q = torch.linalg.qr(A @ torch.linalg.qr(A.mT @ Q).Q).Q
    U, singular, Vh = torch.linalg.svd(Q.mT @ A, full_matrices=False)
    return Q @ U, singular, Vh


def _marchenko_pastur_median(beta: float, points: int = 20_000) -> float:
    """Return the median of the density √((b - x)(x - a)) / (2π β x) on a = (1 - √β)², b = (1 + √β)²."""
    centre, radius = 1 + beta, 2 * math.sqrt(beta)
    # x = centre - radius cos θ takes the root singularities off both ends; midpoints avoid x = 0 at β = 1.
    angle = (torch.arange(points, dtype=torch.float64) + 0.5) * math.pi / points
    x = centre - radius * torch.cos(angle)
    mass = ((radius * torch.sin(angle)).square() / x).cumsum(0)
    share = mass / mass[-1]
    after = int(torch.searchsorted(share, 0.5))
    weight = (0.5 - share[after - 1]) / (share[after] - share[after - 1])
    # `share` is reached at the end of an interval, half a step behind its midpoint.
    return float(centre - radius * torch.cos((after - 1 + weight + 1) * math.pi / points))
