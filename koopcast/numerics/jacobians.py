"""Derivatives of maps of ensembles, each image depending on its own member alone."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def jacobian(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "batch state"]
) -> tuple[Float[Tensor, "batch output"], Float[Tensor, "batch output state"]]:
    """Return f(x) and its Jacobian.

    Each vector becomes an ensemble of copies, one for every output, and one backward pass takes the gradient
    of another output in each copy: it works for whatever autograd goes through.

    Args:
        function: Takes ensembles `(batch, member, state)` to `(batch, member, output)`, for any number of
            members.
        x: Where.
    """
    with torch.no_grad():
        image = function(x[:, None])[:, 0]
    outputs = image.shape[1]
    copies = x.detach()[:, None].expand(-1, outputs, -1).clone()
    with torch.enable_grad():
        copies.requires_grad_()
        chosen = function(copies).diagonal(dim1=1, dim2=2).sum()
        if not chosen.requires_grad:
            return image, torch.zeros_like(copies)
        (gradient,) = torch.autograd.grad(chosen, copies)
    return image, gradient
