"""Dealiased products of periodic fields in one dimension: transforms that keep only the lower two thirds."""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def kept_modes(points: int) -> int:
    """Return how many modes k = 0..K the 2/3 rule keeps: the largest K with 3K < points, plus one.

    A product of two such fields has modes up to 2K; those beyond points/2 fold to points - 2K > K, outside.
    """
    return (points - 1) // 3 + 1


def spectral_maps(points: int) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the maps from fields `(*batch, points, 1)` to kept coefficients `(*batch, mode)` and back."""
    kept = kept_modes(points)

    def to_spectral(fields: Float[Tensor, "*batch points 1"]) -> Complex[Tensor, "*batch mode"]:
        spectrum: Tensor = torch.fft.rfft(fields[..., 0].double(), dim=-1)
        return spectrum[..., :kept]

    def to_physical(coefficients: Complex[Tensor, "*batch mode"]) -> Float[Tensor, "*batch points 1"]:
        fields: Tensor = torch.fft.irfft(coefficients, n=points, dim=-1)
        return fields[..., None]

    return to_spectral, to_physical


def quadratic_flux(
    wave_numbers: Float[Tensor, " mode"], points: int
) -> Callable[[Complex[Tensor, "*batch mode"]], Complex[Tensor, "*batch mode"]]:
    """Return N(v) = -(ik/2) F[(F⁻¹v)²]: -u u_x in conservative form, dealiased before and after the product.

    Truncated coefficients are the dealiasing: v holds kept modes only, and of the product only those are
    kept. The factor of mode 0 is exactly 0, so the mean is conserved to round-off.
    """
    factor, kept = -0.5j * wave_numbers, wave_numbers.shape[0]

    def nonlinear(v: Complex[Tensor, "*batch mode"]) -> Complex[Tensor, "*batch mode"]:
        u = torch.fft.irfft(v, n=points, dim=-1)
        product: Tensor = torch.fft.rfft(u * u, dim=-1)
        return factor * product[..., :kept]

    return nonlinear
