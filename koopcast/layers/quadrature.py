"""Weights that turn sums over the points of a grid into integrals over the domain."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.layers.matrices import stored


def quadrature(
    shape: Sequence[int], periodic: Sequence[bool], *, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "*space"]:
    """Return the weights of the trapezoidal rule, sum 1: equal on periodic axes, halved at the two ends of
    closed ones.
    """
    return _weights(tuple(shape), tuple(periodic), dtype, device)


@lru_cache(maxsize=64)
def _weights(
    shape: tuple[int, ...], periodic: tuple[bool, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    result = torch.ones((), dtype=torch.float64)
    for size, is_periodic in zip(shape, periodic, strict=True):
        line = torch.ones(size, dtype=torch.float64)
        if not is_periodic and size > 1:
            line[0] = line[-1] = 0.5
        result = result[..., None] * (line / line.sum())
    return stored(result, dtype, device)
