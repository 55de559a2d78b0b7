"""Eigenpairs of a fitted map with the residual that each leaves on its data."""

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor

NUM_STORED = 32
"""Leading pairs that a model keeps for its diagnostics."""


def eigenpairs(
    K: Float[Tensor, "state state"],
    states: Float[Tensor, "pair state"],
    following: Float[Tensor, "pair state"],
    num_directions: int,
    known: tuple[Complex[Tensor, " state"], Complex[Tensor, "state state"]] | None = None,
) -> dict[str, Tensor]:
    """Return the leading eigenpairs of z ← K z, largest modulus first, as real tensors `(..., 2)`.

    With K v = λ v and w the matching left eigenvector, g(z) = wᵀ z is the eigenfunction and its residual
    ‖g(z') - λ g(z)‖ / ‖g(z)‖ over the pairs. `eigenvectors` holds v, scaled by the root mean square of g, on
    the first `num_directions` entries of the state, and `eigenfunctions` w over the same number: their
    products add up to the state. `known` are eigenvalues and eigenvectors, where they are at hand.
    """
    values, V = torch.linalg.eig(K) if known is None else known
    numbers = values.tolist()
    order = sorted(range(len(numbers)), key=lambda i: (-abs(numbers[i]), -numbers[i].imag))[:NUM_STORED]
    # The pseudo-inverse also serves maps without a full set of eigenvectors (delays of a nilpotent map).
    W = torch.linalg.pinv(V)[order]
    values, V = values[order], V[:, order]
    # All norms are those of the triangle that the data leave.
    R = torch.linalg.qr(torch.cat([states, following], dim=1), mode="r").R
    g, g_next = times(R[:, : len(K)], W.mT), times(R[:, len(K) :], W.mT)
    size = torch.linalg.vector_norm(g, dim=0)
    residual = torch.linalg.vector_norm(g_next - values * g, dim=0) / size.clamp_min(1e-300)
    amplitude = size / len(states) ** 0.5
    return {
        "eigenfunctions": scaled_rows(W, amplitude),
        "eigenvalues": torch.view_as_real(values).contiguous(),
        "eigenvectors": torch.view_as_real((V[:num_directions] * amplitude).mT.contiguous()).contiguous(),
        "eigen_residuals": residual,
    }


def scaled_rows(
    rows: Complex[Tensor, "mode entry"], size: Float[Tensor, " mode"]
) -> Float[Tensor, "mode entry 2"]:
    """Return rows over their sizes, where these are not 0, as real and imaginary parts."""
    scaled = rows / torch.where(size > torch.finfo(size.dtype).tiny, size, 1.0)[:, None]
    return torch.view_as_real(scaled.resolve_conj()).contiguous()


def times(A: Float[Tensor, "row column"], B: Num[Tensor, "column target"]) -> Num[Tensor, "row target"]:
    """Return A B for a large real A, without a complex copy of it."""
    if not B.is_complex():
        return A @ B
    parts = A @ torch.cat([B.real, B.imag], dim=1)
    return torch.complex(*parts.split(B.shape[1], dim=1))


def to_complex(pairs: Float[Tensor, "*shape 2"]) -> Complex[Tensor, "*shape"]:
    """Return the complex numbers that a tensor of real and imaginary parts stands for."""
    return torch.view_as_complex(pairs.contiguous())
