"""Points that the gradient of a convex function takes to given ones."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS, HALVINGS = 100, 40
TOLERANCE = 1e-10
"""Of |f(y) - x|, relative to 1 + |x|."""
FLOOR = 1e-10
"""Added to the diagonal of the Jacobian, which may be singular."""


def jacobian(
    f: Callable[[Tensor], Tensor], y: Float[Tensor, "batch cell"]
) -> Float[Tensor, "batch cell cell"]:
    """Return ∂f/∂y, row by row."""
    with torch.enable_grad():
        free = y.detach().requires_grad_()
        value = f(free)
        rows = [
            torch.autograd.grad(value[:, row].sum(), free, retain_graph=True)[0] for row in range(y.shape[1])
        ]
    return torch.stack(rows, dim=1)


@torch.no_grad()
def inverted(
    f: Callable[[Tensor], Tensor], potential: Callable[[Tensor], Tensor], x: Float[Tensor, "batch cell"]
) -> tuple[Float[Tensor, "batch cell"], Float[Tensor, " batch"]]:
    """Return y with f(y) = x, the least of the convex ψ(y) - <y, x>, and |f(y) - x|.

    Newton's method with halved steps; where x is not in the range of f, the residual says so.
    """
    y = x.clone()
    value = potential(y) - (y * x).sum(dim=1)
    for _ in range(ITERATIONS):
        gradient = f(y) - x
        size = gradient.norm(dim=1)
        if bool((size <= TOLERANCE * (1 + x.norm(dim=1))).all()):
            break
        J = jacobian(f, y)
        J.diagonal(dim1=1, dim2=2).add_(FLOOR)
        direction = -torch.linalg.solve(J, gradient[..., None])[..., 0]
        slope = (gradient * direction).sum(dim=1)
        share = torch.ones_like(value)
        for _ in range(HALVINGS):
            tried = y + share[:, None] * direction
            new = potential(tried) - (tried * x).sum(dim=1)
            is_lower = new <= value + 1e-4 * share * slope + 1e-14 * value.abs()
            if bool(is_lower.all()):
                break
            share = torch.where(is_lower, share, share / 2)
        y = torch.where(is_lower[:, None], tried, y)
        value = torch.where(is_lower, new, value)
    residual: Tensor = (f(y) - x).norm(dim=1)
    return y, residual
