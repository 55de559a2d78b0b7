"""Test functions that vanish outside the unit disc."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TestFunction = Literal["wendland", "bump", "cosine"]
_TINY = 1e-12


def value(kind: TestFunction, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Return φ(r), r = |x|: `wendland` (1 - r)⁶ (35 r² + 18 r + 3)/3, `bump` exp(1 - 1/(1 - r²)), `cosine`
    (1 + cos πr)/2; 1 at the centre and 0 from r = 1 on.
    """
    r: Tensor = x.norm(dim=-1).clamp_max(1.0)
    if kind == "wendland":
        return (1 - r).pow(6) * (35 * r.square() + 18 * r + 3) / 3
    if kind == "cosine":
        return (1 + torch.cos(math.pi * r)) / 2
    return torch.exp(1 - (1 - r.square()).clamp_min(_TINY).reciprocal())


def gradient(kind: TestFunction, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Return ∇φ: x φ'(r)/r with φ'/r = -56/3 (1 - r)⁵ (5 r + 1), -2 φ/(1 - r²)², -π sin(πr)/(2r)."""
    r: Tensor = x.norm(dim=-1, keepdim=True).clamp_max(1.0)
    if kind == "wendland":
        return (-56 / 3) * (1 - r).pow(5) * (5 * r + 1) * x
    if kind == "cosine":
        # sin(πr)/r = π sinc r is smooth at the centre.
        return -(math.pi**2) / 2 * torch.sinc(r) * x
    gap = (1 - r.square()).clamp_min(_TINY)
    return -2 * torch.exp(1 - gap.reciprocal()) / gap.square() * x
