"""Matérn kernels of half-integer smoothness."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.kernels.base import RadialSpec


class MaternSpec(RadialSpec):
    """Smoothness ν = p + 1/2: e^{-s}, (1 + s) e^{-s} or (1 + s + s²/3) e^{-s}, with s = √(2ν) ‖x - y‖/c."""

    kind: Literal["matern"] = "matern"
    degree: Literal[0, 1, 2] = 1
    """Degree p of the polynomial; functions of the kernel's space have about p derivatives."""

    reference = "Rasmussen & Williams 2006, section 4.2"

    def profile(self, squared: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        """Return the polynomial times the exponential."""
        s = ((2 * self.degree + 1) * squared).sqrt()
        factors = (torch.ones_like(s), 1 + s, 1 + s + s * s / 3)
        return factors[self.degree] * torch.exp(-s)
