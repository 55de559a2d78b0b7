"""Fixed matrices along one axis of a field."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def along_axis(
    matrix: Float[Tensor, "new old"], field: Float[Tensor, "*given"], axis: int
) -> Float[Tensor, "*result"]:
    """Return the field with `matrix` applied along dim `axis`."""
    before, after = field.shape[:axis], field.shape[axis + 1 :]
    rows = field.reshape(math.prod(before), field.shape[axis], math.prod(after))
    return torch.matmul(matrix, rows).reshape(*before, len(matrix), *after)


def stored(matrix: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an ordinary tensor even in inference mode, fit for a cache that outlives it."""
    with torch.inference_mode(False):
        return matrix.clone().to(device, dtype).contiguous()
