"""Spectral measures of measure-preserving systems: rational kernels of any order, filtered moments."""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Complex, Float, Num
from scipy.linalg import schur
from torch import Tensor

Filter: TypeAlias = Literal["fejer", "cosine", "vand", "sharp_cosine", "infinite"]
CHUNK = 2**22
"""Numbers in the triangular systems that are solved together."""


def poles_and_weights(
    order: int, epsilon: float
) -> tuple[Complex[Tensor, " pole"], Complex[Tensor, " pole"], Complex[Tensor, " pole"]]:
    """Return 1 + ε δ, c and d of the rational kernel of this order, where δ_j = 1 + i (2j/(m + 1) - 1).

    With σ_j = -δ̄_j / (1 + ε δ̄_j), c solves Σ c_j σ_jᵏ = [k = 0] and d solves Σ d_j δ_jᵏ = [k = 0], k =
    0..m-1.
    """
    j = torch.arange(1, order + 1, dtype=torch.float64)
    delta = torch.complex(torch.ones_like(j), 2 * j / (order + 1) - 1)
    sigma = -delta.conj() / (1 + epsilon * delta.conj())
    first = torch.zeros(order, dtype=torch.complex128)
    first[0] = 1
    powers = torch.arange(order)[:, None]
    return (
        1 + epsilon * delta,
        torch.linalg.solve(sigma**powers, first),
        torch.linalg.solve(delta**powers, first),
    )


def rational_density(
    K: Num[Tensor, "function function"],
    f: Num[Tensor, " function"],
    angles: Float[Tensor, " angle"],
    *,
    order: int,
    epsilon: float,
) -> Float[Tensor, " angle"]:
    """Return the density of the spectral measure of f, smoothed by a rational kernel of width ε.

    ν(θ) = -(1/2π) Σ_j Re[c_j λ̄_j I_j* f + d_j (K* f)* I_j], λ_j = e^{iθ}(1 + ε δ_j), I_j = (K - λ_j)⁻¹ f.
    The error is O(ε^m log 1/ε) where the density is smooth enough. The functions must reach far enough: many
    more of them than log(1/error)/ε.

    Args:
        K: Galerkin matrix in orthonormal functions.
        f: Coefficients of the observable.
        angles: Where to evaluate, on the unit circle.
        order: Of the kernel, m.
        epsilon: Its width.
    """
    S, Z = _schur(K)
    g = Z.mH @ f.to(Z.dtype)
    stretch, c, d = poles_and_weights(order, epsilon)
    Kg = S.mH @ g
    result = torch.zeros(len(angles), dtype=torch.float64)
    circle = torch.polar(torch.ones_like(angles), angles)
    identity = torch.eye(len(S), dtype=S.dtype)
    size = max(1, CHUNK // len(S) ** 2)
    for j in range(order):
        for start in range(0, len(angles), size):
            z = circle[start : start + size] * stretch[j]
            shifted = S - z[:, None, None] * identity
            resolved = torch.linalg.solve_triangular(shifted, g[:, None].expand(len(z), -1, -1), upper=True)[
                ..., 0
            ]
            inner = c[j] * z.conj() * (resolved.conj() @ g) + d[j] * (resolved @ Kg.conj())
            result[start : start + size] -= inner.real / (2 * math.pi)
    return result


def _schur(K: Num[Tensor, "n n"]) -> tuple[Complex[Tensor, "n n"], Complex[Tensor, "n n"]]:
    """Return S, upper triangular, and Z, unitary, with K = Z S Zᴴ."""
    S, Z = schur(K.to(torch.complex128).numpy(), output="complex")
    return torch.from_numpy(S), torch.from_numpy(Z)


def moments(f: Num[Tensor, "sample time"], count: int) -> Num[Tensor, " moment"]:
    """Return μ_n = (1/2π) mean of f̄_m f_{m+n} for n = 0..count, by the fast Fourier transform.

    Samples are trajectories; none is continued by the next. Each moment is the mean over its own pairs.
    """
    length = f.shape[1]
    padded = torch.fft.fft(f.to(torch.complex128), n=2 * length, dim=1)
    products = torch.fft.ifft(padded * padded.conj(), dim=1).sum(dim=0)[: count + 1]
    pairs = len(f) * (length - torch.arange(count + 1, dtype=torch.float64))
    mu: Tensor = products / pairs / (2 * math.pi)
    return mu


def smoothing(kind: Filter, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return φ(|x|) of a filter on [0, 1]; 1 at 0 and, but for round-off, 0 at 1."""
    x = x.abs()
    cosine = (1 + torch.cos(math.pi * x)) / 2
    match kind:
        case "fejer":
            return 1 - x
        case "cosine":
            return cosine
        case "vand":
            return 1 - x**4 * (-20 * x**3 + 70 * x**2 - 84 * x + 35)
        case "sharp_cosine":
            return cosine**4 * (35 - 84 * cosine + 70 * cosine**2 - 20 * cosine**3)
        case "infinite":
            inside = (x > 0) & (x < 1)
            safe = torch.where(inside, x, 0.5)
            bump = torch.exp(-2 / (1 - safe) * torch.exp(-0.109550455106347 / safe**4))
            return torch.where(inside, bump, (x <= 0).to(x.dtype))


def moment_density(
    mu: Num[Tensor, " moment"], angles: Float[Tensor, " angle"], kind: Filter
) -> Float[Tensor, " angle"]:
    """Return ν(θ) = Σ φ(n/N) μ_n e^{-inθ} over n = -N..N with μ_{-n} the conjugate of μ_n.

    The filter damps the end: the terms n = ±N are left out. θ is the angle of eigenvalues: an observable
    with U f = e^{iα} f has its mass at θ = α.
    """
    count = len(mu) - 1
    n = torch.arange(count + 1, dtype=torch.float64)
    weights = smoothing(kind, n / max(1, count)) * (n < max(1, count))
    wave = torch.exp(-1j * n * angles[:, None])
    terms = wave * (weights * mu)
    return (terms[:, 0] + 2 * terms[:, 1:].sum(dim=1)).real


def atom_weight(mu: Num[Tensor, " moment"], angles: Float[Tensor, " angle"]) -> Float[Tensor, " angle"]:
    """Return the mass that the spectral measure has at single angles: the Fejér density over K_N(0).

    K_N(0) = N/(2π) is the value of the kernel at its centre; a smooth density adds O(1/N).
    """
    count = max(1, len(mu) - 1)
    return moment_density(mu, angles, "fejer") * (2 * math.pi / count)
