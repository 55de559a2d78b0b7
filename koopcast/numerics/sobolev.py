"""Fields as sums of waves of any wavenumber: Sobolev norms by Parseval, of any order, on any box."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.grids import Axis

Ends = Literal["periodic", "mirrored", "zero"]
"""How a field goes on beyond an axis: it repeats; as its mirror image, nodes on both ends (cosines); as minus
that, with zeros at both ends that are not among the nodes (sines)."""


@dataclass(frozen=True)
class Side:
    """An axis of the box: nodes, physical length between the ends, and what holds there."""

    size: int
    length: float
    ends: Ends = "periodic"

    @property
    def period(self) -> float:
        """Length after which the continued field repeats."""
        return self.length if self.ends == "periodic" else 2 * self.length

    @property
    def nodes(self) -> int:
        """Nodes of a period."""
        return self.size + {"periodic": 0, "mirrored": self.size - 2, "zero": self.size + 2}[self.ends]


def sides(axes: Sequence[Axis]) -> tuple[Side, ...]:
    """Return the box of the axes of a field: mirrored where not periodic; an axis without length has 1."""
    return tuple(
        Side(axis.size, 1.0 if axis.length is None else axis.length, _ends(axis.periodic)) for axis in axes
    )


def _ends(is_periodic: bool) -> Ends:
    return "periodic" if is_periodic else "mirrored"


def energies(
    field: Float[Tensor, "batch *space channel"], box: Sequence[Side]
) -> Float[Tensor, "batch *wave channel"]:
    """Return |r̂(k)|² of the continued field, r̂(k) = mean r(x) e^{-2πi k·x/P} over the period P; a wave of the
    last axis stands for its conjugate too, so that all together add up to the mean of r².
    """
    for dim, side in enumerate(box, start=1):
        field = _continued(field, dim, side)
    dims = tuple(range(1, len(box) + 1))
    parts = torch.view_as_real(torch.fft.rfftn(field, dim=dims, norm="forward"))
    return parts.square().sum(-1) * _multiplicity(box[-1].nodes, field.dtype, field.device)[:, None]


def square_norm(
    field: Float[Tensor, "batch *space channel"], box: Sequence[Side], order: float, alpha: float = 1.0
) -> Float[Tensor, "batch channel"]:
    """Return ‖r‖_s² = Σ_k (α + 4π²|k/P|²)^s |r̂(k)|² of the continued field.

    Order 0 is the mean of r² (by the trapezoidal rule on a mirrored axis), order 1 with α = 0 that of |∇r|²,
    a negative order the square of a dual norm. With α = 0 the mean counts in order 0 alone.
    """
    weight = _weight(tuple(box), float(order), float(alpha), field.dtype, field.device)
    return torch.einsum("b...c,...->bc", energies(field, box), weight)


def square_wave_numbers(box: Sequence[Side], device: torch.device) -> Float[Tensor, "*wave"]:
    """Return 4π²|k/P|² of the waves of `energies`, double precision."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    for axis, side in enumerate(box):
        waves = torch.fft.fftfreq(side.nodes, 1 / side.nodes, dtype=torch.float64, device=device)
        if axis == len(box) - 1:
            waves = waves[: side.nodes // 2 + 1].abs()
        square = (2 * math.pi / side.period * waves).square()
        total = total[..., None] + square
    return total


@lru_cache(maxsize=32)
def shells(box: tuple[Side, ...], device: torch.device) -> Int[Tensor, "*wave"]:
    """Return for each wave the number of its shell: |k| to the nearest multiple of the lowest wave number.

    The last shell holds everything beyond the highest wave that all axes resolve.
    """
    lowest = 2 * math.pi / max(side.period for side in box)
    highest = min(math.pi * side.nodes / side.period for side in box)
    with torch.inference_mode(False):
        radius = square_wave_numbers(box, device).sqrt().clamp_max(highest) / lowest
        return radius.round().long()


def _continued(
    field: Float[Tensor, "batch *space channel"], dim: int, side: Side
) -> Float[Tensor, "batch *more channel"]:
    if side.ends == "periodic":
        return field
    if side.ends == "mirrored":
        return torch.cat([field, field.narrow(dim, 1, side.size - 2).flip(dim)], dim=dim)
    zero = torch.zeros_like(field.narrow(dim, 0, 1))
    return torch.cat([zero, field, zero, -field.flip(dim)], dim=dim)


@lru_cache(maxsize=32)
def _multiplicity(nodes: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " wave"]:
    with torch.inference_mode(False):
        result = torch.full((nodes // 2 + 1,), 2.0, dtype=dtype, device=device)
        result[0] = 1
        if nodes % 2 == 0:
            result[-1] = 1
        return result


@lru_cache(maxsize=32)
def _weight(
    box: tuple[Side, ...], order: float, alpha: float, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "*wave"]:
    with torch.inference_mode(False):
        base = alpha + square_wave_numbers(box, device)
        weight = torch.where(base > 0, base.clamp_min(1e-300) ** order, float(order == 0))
        return weight.to(dtype)
