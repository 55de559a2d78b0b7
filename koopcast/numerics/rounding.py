"""Weights in double precision, used in the precision of what they multiply."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def rounded(weights: Sequence[Tensor]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return the map from a tensor to the weights in its type, each of which is made once.

    Of complex weights for a real tensor the real part counts: the imaginary one is round-off then.
    """
    made: dict[torch.dtype, tuple[Tensor, ...]] = {}

    def of(v: Tensor) -> tuple[Tensor, ...]:
        if v.dtype not in made:
            parts = weights if v.is_complex() else [w.real if w.is_complex() else w for w in weights]
            # An inference-mode tensor could not be used under autograd later.
            with torch.inference_mode(False):
                made[v.dtype] = tuple(w.detach().clone().to(v.dtype).contiguous() for w in parts)
        return made[v.dtype]

    return of
