"""Values beyond the ends of the axes, for kernels that reach over them."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Beyond = Literal["zeros", "linear"]


def padded(
    x: Float[Tensor, "batch *space channel"],
    widths: Sequence[int],
    periodic: Sequence[bool],
    beyond: Beyond = "zeros",
) -> Float[Tensor, "batch *padded channel"]:
    """Append `widths` points at both ends of each axis: around the circle on periodic axes; on closed ones
    zeros, or the straight line through the two last points.
    """
    for dim, (width, is_periodic) in enumerate(zip(widths, periodic, strict=True), start=1):
        if width == 0:
            continue
        if is_periodic:
            places = torch.arange(-width, x.shape[dim] + width, device=x.device) % x.shape[dim]
            x = x.index_select(dim, places)
        elif beyond == "linear":
            x = _extended(x, dim, width)
        else:
            x = with_zeros(x, dim, width)
    return x


def with_zeros(
    x: Float[Tensor, "batch *space channel"], dim: int, width: int
) -> Float[Tensor, "batch *padded channel"]:
    """Append `width` zeros at both ends of one dim."""
    return torch.nn.functional.pad(x, (0, 0) * (x.ndim - 1 - dim) + (width, width))


def _extended(x: Tensor, dim: int, width: int) -> Tensor:
    """Continue the first and the last difference of the axis."""
    size = x.shape[dim]
    steps = torch.arange(1, width + 1, dtype=x.dtype, device=x.device)
    steps = steps.reshape(-1, *[1] * (x.ndim - 1 - dim))
    first, last = x.narrow(dim, 0, 1), x.narrow(dim, size - 1, 1)
    if size == 1:
        return torch.cat([first + 0 * steps, x, last + 0 * steps], dim=dim)
    before = first + steps.flip(0) * (first - x.narrow(dim, 1, 1))
    after = last + steps * (last - x.narrow(dim, size - 2, 1))
    return torch.cat([before, x, after], dim=dim)
