"""Conjugate gradients for many systems at once, by products alone."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    b: Float[Tensor, "*batch n"],
    *,
    tolerance: float,
    iterations: int,
) -> Float[Tensor, "*batch n"]:
    """Solve A x = b of symmetric positive definite A, each system to |b - A x| ≤ tolerance |b| or as far as
    iterations go; one that is solved stays as it is.

    Args:
        product: x -> A x, all systems at once.
        b: Right-hand sides.
        tolerance: Relative residual.
        iterations: At most.
    """
    x, r = torch.zeros_like(b), b
    p, rho = r, r.square().sum(dim=-1, keepdim=True)
    target = tolerance**2 * rho
    for _ in range(iterations):
        is_open = rho > target
        if not bool(is_open.any()):
            break
        q = product(p)
        alpha = torch.where(is_open, rho / (p * q).sum(dim=-1, keepdim=True), 0.0)
        x, r = x + alpha * p, r - alpha * q
        new = torch.where(is_open, r.square().sum(dim=-1, keepdim=True), rho)
        p, rho = torch.where(is_open, r + new / rho * p, p), new
    return x
