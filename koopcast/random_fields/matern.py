"""Gaussian functions of finite smoothness, with a Matérn kernel."""

import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.numerics.arrays import normal
from koopcast.random_fields.base import RandomFieldSpec

ROOM = 9.0
"""Lengths ℓ after which an image of the interval is no longer felt: the kernel is below 2e-4, a smoother one
below 1e-5."""
LEFT_OUT = {0: 1e-3, 1: 1e-6, 2: 1e-8}
"""Share of the variance in waves that the series leaves out, of each degree."""


class MaternFieldSpec(RandomFieldSpec):
    """Gaussian function of one axis with the covariance σ² q(s) e^(-s), s = √(2p + 1) |x - x'|/ℓ.

    q is 1, 1 + s or 1 + s + s²/3 for the degree p = 0, 1, 2: smoothness ν = p + 1/2.
    """

    kind: Literal["matern"] = "matern"
    degree: Literal[0, 1, 2] = 0
    """Number p of derivatives that the function has: 0 is the Ornstein-Uhlenbeck process, ν = 1/2."""
    length_scale: PositiveFloat = 0.2
    """Correlation length ℓ, in the units of the axis."""
    sigma: PositiveFloat = 1.0
    """Standard deviation σ of a value."""

    reference = (
        "Rasmussen & Williams 2006, section 4.2; an input space in the code of Lu et al. 2021 (DeepONet). A "
        "Fourier series on a longer interval, or on the circle: at degree 0 a thousandth of the variance "
        "lies in waves shorter than those of the series and is given to the others"
    )

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why there is more than one axis."""
        if len(axes) != 1:
            return (
                f"matern draws functions of one axis, not of {len(axes)}; choose squared_exponential, or of "
                "finite smoothness cosine_gaussian on closed axes and periodic_gaussian on periodic ones"
            )
        return None

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw σ Σ_m ξ_m e_m(x), e the cosines and sines with their deviations."""
        if (problem := self.fault(axes)) is not None:
            raise ShapeMismatch(*problem.split("; ", 1))
        basis = _basis(axes[0], self.length_scale, self.degree).to(generator.device)
        return self.sigma * normal(count, len(basis), generator=generator) @ basis

    def basis(self, axis: Axis) -> Float[Tensor, "term size"]:
        """Return √c_0, √2c_1 cos κx, √2c_1 sin κx, √2c_2 cos 2κx, ... at the nodes: eᵀe is the kernel.

        c_k ∝ (2p + 1 + (2πkℓ/P)²)^(-p-1) are the Fourier coefficients of the kernel repeated with period P:
        the length of a periodic axis, or of another one with room for the kernel to vanish.
        """
        return _basis(axis, self.length_scale, self.degree).clone()


@lru_cache(maxsize=8)
def _basis(axis: Axis, scale: float, degree: int) -> Float[Tensor, "term size"]:
    length = axis.length or 1.0
    period = length if axis.periodic else length + ROOM * scale
    rate, wave = math.sqrt(2 * degree + 1) / scale, 2 * math.pi / period
    # The density of the variance over waves, 2 S(κ), falls as κ^(-2p-2).
    peak = 2 * math.gamma(degree + 1) / (math.sqrt(math.pi) * math.gamma(degree + 0.5))
    highest = rate * (peak / ((2 * degree + 1) * LEFT_OUT[degree])) ** (1 / (2 * degree + 1))
    k = torch.arange(1, math.ceil(highest / wave) + 1, dtype=torch.float64)
    variances = 2 * (1 + (wave * k / rate) ** 2) ** (-degree - 1)
    total = 1 + variances.sum()
    intervals = axis.size if axis.periodic else max(1, axis.size - 1)
    x = torch.arange(axis.size, dtype=torch.float64) * (length / intervals)
    phases = wave * k[:, None] * x
    waves = torch.stack((phases.cos(), phases.sin()), dim=1) * (variances / total).sqrt()[:, None, None]
    mean = (1 / total).sqrt().expand(1, axis.size)
    return torch.cat((mean, waves.flatten(0, 1)))
