"""Features that turn with the coordinates."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.layers.coordinates import angles, angles_at
from koopcast.layers.matrices import stored

HIGHEST_WAVE = 8


def rotated(
    x: Float[Tensor, "batch head point each"], shape: Sequence[int], periodic: Sequence[bool]
) -> Float[Tensor, "batch head point each"]:
    """Return x with pairs of channels (a, b) turned by the angle θ(point): (a cos θ - b sin θ, a sin θ + b
    cos θ).

    Each axis turns an equal share of the pairs; channels that do not fill a pair an axis stay. The product of
    two turned vectors depends on θ at their points through the difference alone. θ = 2π m x on periodic axes,
    π m x on closed ones, with waves m from 1 to 8.
    """
    pairs = x.shape[-1] // (2 * len(shape))
    return _turned(x, *_turns(tuple(shape), tuple(periodic), pairs, x.dtype, x.device))


def rotated_at(
    x: Float[Tensor, "batch head point each"], places: Float[Tensor, "point axis"], periodic: Sequence[bool]
) -> Float[Tensor, "batch head point each"]:
    """Return the same at any places, whose coordinates go from 0 to 1 along each axis."""
    theta = angles_at(places, periodic, _waves(x.shape[-1] // (2 * places.shape[-1])))
    return _turned(x, theta.cos(), theta.sin())


def _turned(
    x: Float[Tensor, "batch head point each"],
    cos: Float[Tensor, "point pair"],
    sin: Float[Tensor, "point pair"],
) -> Float[Tensor, "batch head point each"]:
    a, b, rest = x.split([cos.shape[-1], cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]], dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


@lru_cache(maxsize=64)
def _turns(
    shape: tuple[int, ...], periodic: tuple[bool, ...], pairs: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return cos θ and sin θ, (point, axis and pair)."""
    theta = angles(shape, periodic, _waves(pairs)).flatten(0, -2)
    return stored(theta.cos(), dtype, device), stored(theta.sin(), dtype, device)


def _waves(pairs: int) -> list[int]:
    return [round(HIGHEST_WAVE ** (pair / max(1, pairs - 1))) for pair in range(pairs)]
