"""A smooth function whose stationary points no first-order method finds sooner than coordinate by coordinate.

f_T(x) = -Ψ(1) Φ(x₁) + Σ_{i=2..T} [Ψ(-x_{i-1}) Φ(-x_i) - Ψ(x_{i-1}) Φ(x_i)] with
Ψ(x) = exp(1 - 1/(2x - 1)²) for x > 1/2, else 0, and Φ(x) = √e ∫_{-∞}^x e^{-t²/2} dt
(Carmon, Duchi, Hinder and Sidford 2020). From a point whose support is {1..i} a gradient reaches coordinate
i + 1 at most, and ‖∇f‖ > 1 until |x_T| > 1. f(0) - inf f ≤ 12 T, and ∇f is 152-Lipschitz.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

LIPSCHITZ = 152.0
"""Lipschitz constant of the gradient."""
GAP = 12.0
"""f(0) - inf f is at most this times the length."""


def value(x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch"]:
    """Return f_T(x)."""
    before = _shifted(x)
    return (_psi(-before) * _phi(-x) - _psi(before) * _phi(x)).sum(dim=-1)


def gradient(x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
    """Return ∇f_T(x), in closed form."""
    before, inner = _shifted(x), x[..., :-1]
    own = -(_psi(-before) + _psi(before)) * _phi_slope(x)  # Φ' is even
    after = -_psi_slope(-inner) * _phi(-x[..., 1:]) - _psi_slope(inner) * _phi(x[..., 1:])
    return own + torch.nn.functional.pad(after, (0, 1))


def progress(x: Float[Tensor, "*batch length"], threshold: float = 1.0) -> Int[Tensor, "*batch"]:
    """Return prog(x), the largest i (from 1) with |x_i| > threshold; 0 where there is none."""
    numbers = torch.arange(1, x.shape[-1] + 1, device=x.device)
    return torch.where(x.abs() > threshold, numbers, 0).amax(dim=-1)


def noisy_gradient(
    x: Float[Tensor, "*batch length"], probability: float, generator: torch.Generator
) -> Float[Tensor, "*batch length"]:
    """Return an unbiased gradient that shows a new coordinate once in 1 / probability calls.

    Coordinates beyond prog(x) at the threshold 1/4 are multiplied by z / p, z one Bernoulli number of the
    call (Arjevani et al. 2023).
    """
    exact = gradient(x)
    z = torch.rand(x.shape[:-1], generator=generator, device=generator.device, dtype=x.dtype) < probability
    numbers = torch.arange(1, x.shape[-1] + 1, device=x.device)
    is_new = numbers > progress(x, 0.25)[..., None]
    return torch.where(is_new, exact * (z[..., None] / probability), exact)


@dataclass(frozen=True)
class RotatedChain:
    """f_T(Uᵀ ρ(x)) + ‖x‖²/10 with ρ(x) = x / √(1 + ‖x‖²/R²), R = 230 √T: the chain hides from coordinates."""

    U: Float[Tensor, "ambient length"]
    """Orthonormal columns."""

    @classmethod
    def drawn(cls, ambient: int, length: int, generator: torch.Generator) -> "RotatedChain":
        """Draw U uniformly (QR of a normal matrix, signs of R's diagonal made positive)."""
        square = torch.randn(
            ambient, length, generator=generator, device=generator.device, dtype=torch.float64
        )
        Q, R = torch.linalg.qr(square)
        return cls(Q * R.diagonal().sign())

    def chain(self, x: Float[Tensor, "*batch ambient"]) -> Float[Tensor, "*batch length"]:
        """Return Uᵀ ρ(x), where the progress is read."""
        return (x / self._stretch(x)) @ self.U

    def value(self, x: Float[Tensor, "*batch ambient"]) -> Float[Tensor, "*batch"]:
        """Return the function."""
        return value(self.chain(x)) + x.square().sum(dim=-1) / 10

    def gradient(self, x: Float[Tensor, "*batch ambient"]) -> Float[Tensor, "*batch ambient"]:
        """Return its gradient: Jρᵀ U ∇f + x/5 with Jρ = (I - ρρᵀ/R²) / √(1 + ‖x‖²/R²)."""
        stretch = self._stretch(x)
        rho = x / stretch
        outer = gradient(rho @ self.U) @ self.U.mT
        along = (rho * outer).sum(dim=-1, keepdim=True) / self._radius**2
        return (outer - along * rho) / stretch + x / 5

    @property
    def _radius(self) -> float:
        return 230 * math.sqrt(self.U.shape[1])

    def _stretch(self, x: Float[Tensor, "*batch ambient"]) -> Float[Tensor, "*batch 1"]:
        return (1 + x.square().sum(dim=-1, keepdim=True) / self._radius**2).sqrt()


def _shifted(x: Float[Tensor, "*batch length"]) -> Float[Tensor, "*batch length"]:
    """Return x_{i-1} with x₀ = 1, which makes the first term one of the sum: Ψ(-1) = 0."""
    return torch.nn.functional.pad(x[..., :-1], (1, 0), value=1.0)


def _psi(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return Ψ, differentiable everywhere: the denominator is safe where Ψ is 0."""
    is_on = x > 0.5
    root = torch.where(is_on, 2 * x - 1, 1.0)
    # Ψ underflows just above 1/2, and so must the square's inverse not overflow.
    inverse = 1 / root.square().clamp_min(1e-3)
    return torch.where(is_on, torch.exp(1 - inverse), 0.0)


def _psi_slope(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return Ψ'(x) = 4 Ψ(x) / (2x - 1)³."""
    root = torch.where(x > 0.5, 2 * x - 1, 1.0)
    return 4 * _psi(x) / root.pow(3).clamp_min(1e-4)


def _phi(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return √(2πe) times the normal distribution function."""
    share: Tensor = torch.special.ndtr(x)
    return math.sqrt(2 * math.pi * math.e) * share


def _phi_slope(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.exp((1 - x * x) / 2)
