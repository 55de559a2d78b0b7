"""Coordinates of the grid as extra channels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def grid_positions(
    shape: Sequence[int], periodic: Sequence[bool], *, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "*space axis"]:
    """Return the coordinates of the points in [0, 1]: j / N on a periodic axis, j / (N - 1) on a closed one.

    The same place of the domain has the same coordinates on every grid.
    """
    lines = [
        torch.arange(size, dtype=dtype, device=device) / (size if is_periodic else max(1, size - 1))
        for size, is_periodic in zip(shape, periodic, strict=True)
    ]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
