"""Inverse and inverse square root of many positive definite matrices on vectors, by Lanczos' method."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import ellipj, ellipk
from torch import Tensor

QUADRATURE = 1e-11
"""Relative error of the quadrature that stands for the square root."""
EXHAUSTED = 1e-13
"""A Krylov space whose next vector is this small, relative to the one before, is invariant."""


class Applied(NamedTuple):
    """A⁻¹ v and A^{-1/2} v, column by column."""

    inverse: Float[Tensor, "many n column"]
    root: Float[Tensor, "many n column"]
    is_accurate: Bool[Tensor, " many"]
    """Whether all columns of a matrix met the tolerance."""


def inverse_and_root_of(
    apply: Callable[[Tensor], Tensor],
    v: Float[Tensor, "many n column"],
    largest: float,
    *,
    tolerance: float,
    steps: int,
) -> Applied:
    """Return A⁻¹ v and A^{-1/2} v for symmetric A with eigenvalues from 1 to `largest`.

    V spans the Krylov space of A and v, and T = Vᵀ A V is tridiagonal: f(A) v = |v| V f(T) e₁. For f the
    inverse square root that is a sum over poles σ < 0 of (T - σ)⁻¹ e₁. The residual of A⁻¹ v bounds the error
    of both, relative to |v|: those of the shifted systems are smaller.

    Args:
        apply: A on columns `(many, n, column)`.
        v: The columns.
        largest: Bound on the eigenvalues; the cost grows with its logarithm.
        tolerance: Residual, relative to |v|, at which a column is done.
        steps: Dimension of the Krylov space at most.
    """
    weights, shifts = (part.to(v) for part in _poles(max(largest, 1 + 1e-9)))
    size = v.norm(dim=-2, keepdim=True)
    basis = [v / torch.where(size > 0, size, 1)]
    tridiagonal = _Tridiagonal(shifts)
    alive = (size > 0).to(v.dtype)
    before: Tensor | None = None
    for _ in range(steps):
        now = basis[-1]
        w = apply(now)
        diagonal = (now * w).sum(dim=-2, keepdim=True)
        w = w - diagonal * now
        if before is not None:
            w -= before * basis[-2]
        length = w.norm(dim=-2, keepdim=True)
        # A dead column carries 1 on the diagonal and nothing beside it.
        residual = tridiagonal.extend(torch.where(alive > 0, diagonal, 1.0)[:, 0], length[:, 0])
        alive = alive * (length > EXHAUSTED)
        if bool((residual < tolerance).all()):
            break
        before = length * alive
        basis.append(w / torch.where(alive > 0, length, torch.inf))
        tridiagonal.close(before[:, 0])
    space = torch.stack(basis[: len(tridiagonal)])
    coefficients = tridiagonal.solved() * size[:, 0, :, None]
    root = torch.einsum("smnc,smc->mnc", space, coefficients[..., 1:] @ weights)
    inverse = torch.einsum("smnc,smc->mnc", space, coefficients[..., 0])
    return Applied(inverse, root, (residual < tolerance).all(dim=-1))


class _Tridiagonal:
    """(T + σ)⁻¹ e₁ for many T and shifts σ at once; the first shift is 0. T grows by a row at a time."""

    def __init__(self, shifts: Tensor) -> None:
        self._shifts = torch.cat((torch.zeros_like(shifts[:1]), shifts))
        self._pivots: list[Tensor] = []
        self._beside: list[Tensor] = []
        self._right: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._pivots)

    def extend(self, diagonal: Float[Tensor, "many column"], length: Float[Tensor, "many column"]) -> Tensor:
        """Take in a diagonal entry; return the residual of T⁻¹ e₁ given the length of the next vector."""
        pivot = diagonal[..., None] + self._shifts
        if self._beside:
            ratio = self._beside[-1][..., None] / self._pivots[-1]
            pivot = pivot - self._beside[-1][..., None] * ratio
            right = -ratio * self._right[-1]
        else:
            right = torch.ones_like(pivot)
        self._pivots.append(pivot)
        self._right.append(right)
        return length * (right[..., 0] / pivot[..., 0]).abs()

    def close(self, beside: Float[Tensor, "many column"]) -> None:
        """Take in the entry beside the diagonal, before the next row."""
        self._beside.append(beside)

    def solved(self) -> Float[Tensor, "step many column shift"]:
        """Return (T + σ)⁻¹ e₁ by back substitution."""
        x = self._right[-1] / self._pivots[-1]
        rows = [x]
        for pivot, right, beside in zip(
            self._pivots[-2::-1], self._right[-2::-1], reversed(self._beside[: len(self) - 1]), strict=True
        ):
            x = (right - beside[..., None] * x) / pivot
            rows.append(x)
        return torch.stack(rows[::-1])


@cache
@torch.inference_mode(False)
def _poles(largest: float) -> tuple[Float[Tensor, " pole"], Float[Tensor, " pole"]]:
    """Return w and s with x^{-1/2} = Σ w / (x + s) on [1, largest]: the trapezoidal rule after a map.

    Method 3 of Hale, Higham and Trefethen (2008), whose error is O(exp(-2π² n / (log largest + 3))).
    """
    count = math.ceil(-math.log(QUADRATURE) * (math.log(largest) + 3) / (2 * math.pi**2)) + 1
    complement = 1 - 1 / largest
    quarter = ellipk(complement)
    sn, cn, dn, _ = ellipj((np.arange(count) + 0.5) * quarter / count, complement)
    weights = 2 * quarter / (math.pi * count) * dn / cn**2
    return torch.from_numpy(weights), torch.from_numpy((sn / cn) ** 2)
