"""Random Fourier series on periodic axes, drawn mode by mode so that the grid does not matter."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.grids import Axis
from koopcast.numerics.arrays import normal


def gaussian_series(
    axes: tuple[Axis, ...],
    deviation: Callable[[Float[Tensor, " mode"]], Float[Tensor, " mode"]],
    count: int,
    generator: torch.Generator,
) -> Float[Tensor, "count *space"]:
    """Draw Σ_k s(|κ|²) √2 (a_k cos κ·x + b_k sin κ·x), a and b standard normal, at the nodes of 1 or 2 axes.

    The sum runs over one wave vector κ = 2πk/L of each pair ±k with no component at or above the Nyquist
    limit. A shell of equal max|k| is one draw of the same length on every grid, coarse shells first.

    Args:
        axes: Periodic axes with a length.
        deviation: The map s from |κ|² to the standard deviation of the mode.
        count: Fields.
        generator: Source of the numbers; the fields lie on its device.
    """
    sizes = [axis.size for axis in axes]
    scales = [2 * math.pi / (axis.length or 1.0) for axis in axes]
    limits = [(size - 1) // 2 for size in sizes]
    shells, k = _half_space(max(limits), len(axes))
    # One normal number for the cosine and one for the sine, all fields of a mode side by side.
    numbers = torch.cat([normal(2, modes, count, generator=generator) for modes in shells], dim=1)
    held = (k.abs() <= torch.tensor(limits)).all(dim=1)
    k, numbers = k[held].to(generator.device), numbers[:, held.to(generator.device)]
    squares = (k * torch.tensor(scales, dtype=torch.float64, device=k.device)).square().sum(dim=1)
    values = torch.complex(numbers[0], -numbers[1]) * (deviation(squares) / math.sqrt(2))[:, None]
    spectrum = torch.zeros(
        *sizes[:-1], sizes[-1] // 2 + 1, count, dtype=torch.complex128, device=generator.device
    )
    spectrum[k.unbind(dim=1)] = values
    # Of a pair on the line where the last component is 0, both members are stored.
    both = k[:, -1] == 0
    spectrum[(-k[both]).unbind(dim=1)] = values[both].conj()
    fields: Tensor = torch.fft.irfftn(
        spectrum.movedim(-1, 0), s=sizes, dim=tuple(range(1, len(axes) + 1)), norm="forward"
    )
    return fields


@lru_cache(maxsize=8)
def _half_space(largest: int, dimension: int) -> tuple[tuple[int, ...], Int[Tensor, "mode axis"]]:
    """Return one wave vector of each pair ±k, last component >= 0, and how many have max|k| = 1, 2, ..."""
    shells = [_shell(m, dimension) for m in range(1, largest + 1)]
    return tuple(map(len, shells)), torch.cat(shells)


def _shell(m: int, dimension: int) -> Int[Tensor, "mode axis"]:
    if dimension == 1:
        return torch.tensor([[m]])
    inner, side = torch.arange(1, m), torch.arange(-m, m + 1)
    edges = (torch.stack((torch.full_like(inner, sign * m), inner), dim=1) for sign in (1, -1))
    return torch.cat((torch.tensor([[m, 0]]), *edges, torch.stack((side, torch.full_like(side, m)), dim=1)))


def fault(kind: str, axes: tuple[Axis, ...], dimensions: tuple[int, ...] = (1, 2)) -> str | None:
    """Return why no periodic series exists on the axes, and what to do."""
    if len(axes) not in dimensions or any(not axis.periodic or axis.length is None for axis in axes):
        number = " or ".join(map(str, dimensions))
        return (
            f"{kind} draws fields on {number} periodic axes that have a length; choose another random field"
        )
    return None
