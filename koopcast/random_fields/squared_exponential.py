"""Gaussian fields with a squared-exponential kernel."""

import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.grids import Axis
from koopcast.numerics.arrays import normal
from koopcast.random_fields.base import RandomFieldSpec

NEGLIGIBLE = 9.0
"""Lengths after which the kernel, and standard deviations after which its spectrum, is below e^(-40)."""


class SquaredExponentialSpec(RandomFieldSpec):
    """Gaussian field with the covariance σ² exp(-|x - x'|² / 2ℓ²)."""

    kind: Literal["squared_exponential"] = "squared_exponential"
    length_scale: PositiveFloat = 0.2
    """Correlation length ℓ, in the units of the axes."""
    sigma: PositiveFloat = 1.0
    """Standard deviation σ of a value."""

    reference = (
        "input functions of Lu et al. 2021 (DeepONet), which factor the covariance of 1000 nodes; here a "
        "Fourier series on a longer interval, whose images are too far away to be felt"
    )

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw σ Σ_m ξ_m Π e_{m_i}(x_i), e the cosines and sines of each axis with their deviations."""
        bases = [_basis(axis, self.length_scale).to(generator.device) for axis in axes]
        values = normal(count, *(len(basis) for basis in bases), generator=generator)
        for basis in bases:
            # The axis summed is the first after the samples, and its nodes go last: after all, in order.
            values = torch.einsum("cm...,mx->c...x", values, basis)
        return self.sigma * values

    def basis(self, axis: Axis) -> Float[Tensor, "term size"]:
        """Return √c_0, √2c_1 cos κx, √2c_1 sin κx, √2c_2 cos 2κx, ... at the nodes: eᵀe is the kernel.

        c_k = √(2π) (ℓ/P) exp(-(2πkℓ/P)²/2) are the Fourier coefficients of the kernel repeated with period P:
        the length of a periodic axis, or of another one with room for the kernel to vanish.
        """
        return _basis(axis, self.length_scale).clone()


@lru_cache(maxsize=8)
def _basis(axis: Axis, scale: float) -> Float[Tensor, "term size"]:
    length = axis.length or 1.0
    period = length if axis.periodic else length + NEGLIGIBLE * scale
    wave = 2 * math.pi / period
    k = torch.arange(1, math.ceil(NEGLIGIBLE / (wave * scale)) + 1, dtype=torch.float64)
    intervals = axis.size if axis.periodic else max(1, axis.size - 1)
    x = torch.arange(axis.size, dtype=torch.float64) * (length / intervals)
    deviation = (2 * scale * wave / math.sqrt(2 * math.pi)) ** 0.5 * torch.exp(-((wave * scale * k) ** 2) / 4)
    phases = wave * k[:, None] * x
    waves = torch.stack((phases.cos(), phases.sin()), dim=1) * deviation[:, None, None]
    mean = torch.full((1, axis.size), (scale * wave / math.sqrt(2 * math.pi)) ** 0.5, dtype=torch.float64)
    return torch.cat((mean, waves.flatten(0, 1)))
