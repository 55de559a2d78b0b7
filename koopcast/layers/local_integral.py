"""Integral over a small disc of the domain with a learned kernel."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.errors import ShapeMismatch
from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolution import convolve
from koopcast.layers.matrices import stored


class LocalIntegral(nn.Module):
    """y(x) = ∫ Σ_b θ_b ψ_b(z - x) u(z) dz + c over the disc |z - x| < radius; 1 or 2 space axes.

    The basis ψ_b is piecewise linear in radius and angle: one hat at the centre, and on each of the further
    rings one hat a sector (in one dimension: one to either side). Each ψ_b is scaled on every grid so that
    the sum which stands for its integral is 1. θ is normal with variance 1 / channels_in.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        grid: Says which axes are periodic and how long; beyond the ends of the others the field is 0.
        radius: Of the disc, in units of the domain's shortest axis.
        shape: Rings (the centre counts as one) and sectors.
        has_bias: Add one number a channel.
        generator: Draws the weights.

    Raises:
        ShapeMismatch: In the forward pass, for a grid so coarse that a basis function meets none of its
            points.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        grid: BaseGrid,
        *,
        radius: float,
        shape: tuple[int, int] = (2, 4),
        has_bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.grid, self.radius, self.shape = grid, radius, shape
        count = num_basis_functions(shape, len(grid.shape))
        draw = torch.randn(channels_out, channels_in, count, generator=generator)
        self.weight = nn.Parameter(draw / math.sqrt(channels_in))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if has_bias else None

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the integral as a sum over the grid of `x`."""
        spacings = self.grid.spacings(x.shape[1:-1])
        basis = _basis(spacings, self.radius, self.shape, x.dtype, x.device)
        if _has_empty_hat(basis):
            raise ShapeMismatch(
                f"grid {tuple(x.shape[1:-1])} is too coarse for kernels of radius {self.radius:.3g}",
                "widen the radius, or take fewer rings",
            )
        kernel = torch.tensordot(self.weight, basis, dims=1)
        return convolve(x, kernel, self.bias, self.grid.periodic)


def num_basis_functions(shape: tuple[int, int], axes: int) -> int:
    """Return the size of the basis for (rings, sectors)."""
    rings, sectors = shape
    return 1 + (rings - 1) * (sectors if axes > 1 else 2)


def is_resolved(spacings: Sequence[float], radius: float, shape: tuple[int, int]) -> bool:
    """Return whether every basis function meets a point of a grid with these spacings."""
    return not _has_empty_hat(_basis(tuple(spacings), radius, shape, torch.float64, torch.device("cpu")))


def _has_empty_hat(basis: Float[Tensor, "basis *tap"]) -> bool:
    return bool((basis.flatten(1).sum(1) == 0).any())


@lru_cache(maxsize=64)
def _basis(
    spacings: tuple[float, ...],
    radius: float,
    shape: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Return ψ at the taps around a point, (basis, *tap), each with sum 1, or 0 where no tap meets it."""
    rings, sectors = shape
    lines = []
    for spacing in spacings:
        reach = max(0, math.ceil(radius / spacing - 1e-9) - 1)
        lines.append(torch.arange(-reach, reach + 1, dtype=torch.float64) * spacing)
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    distance = places.square().sum(0).sqrt() / (radius / rings)
    hats = [(1 - distance).clamp_min(0)]
    for ring in range(1, rings):
        around = (1 - (distance - ring).abs()).clamp_min(0)
        hats += [around * share for share in _shares(places, sectors)]
    basis = torch.stack(hats)
    total = basis.flatten(1).sum(1).reshape(-1, *[1] * len(lines))
    # A hat that a tap only grazes by rounding holds no point.
    return stored(torch.where(total > 1e-9, basis / total, 0.0), dtype, device)


def _shares(places: Tensor, sectors: int) -> list[Tensor]:
    """Return the hats in angle, which add up to 1; on a line the two sides."""
    if len(places) == 1:
        return [(places[0] > 0).to(places), (places[0] < 0).to(places)]
    if sectors == 1:
        return [torch.ones_like(places[0])]
    turn = torch.atan2(places[0], places[1]) / (2 * math.pi) * sectors
    shares = []
    for sector in range(sectors):
        apart = (turn - sector + sectors / 2) % sectors - sectors / 2
        shares.append((1 - apart.abs()).clamp_min(0))
    return shares
