"""Fields on a periodic interval and their Fourier coefficients, with products free of aliases."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from koopcast.dynamics import ON_CPU, Semilinear, Setting
from koopcast.numerics.derivatives import is_differentiated

Dealias = Literal["2/3", "1/2", "none"]
"""Share of the modes that is kept before a product is formed, and of its transform."""


def kept_modes(points: int, dealias: Dealias = "2/3") -> int:
    """Return how many modes k = 0..K are kept: by the 2/3 rule the largest K with 3K < points, plus one.

    A product of two such fields has modes up to 2K; those beyond points/2 fold to points - 2K > K, outside.
    The rule 1/2, 4K < points, does the same for products of three. Without a rule the mode points/2 alone
    is left out, since it has no derivative.
    """
    return (points - 1) // {"2/3": 3, "1/2": 4, "none": 2}[dealias] + 1


@dataclass(frozen=True)
class Product:
    """A nonlinear term N(v) = s T(v): a method may fold the last factor into weights of its own."""

    symbol: Tensor
    transform: Callable[[Tensor], Tensor]

    def __call__(self, v: Tensor) -> Tensor:
        """Return N(v)."""
        return self.symbol * self.transform(v)


@dataclass(frozen=True)
class PeriodicLine:
    """A grid j L/n on a periodic interval. Coefficients are those of e^{2πikx/L}, k = 0..n/2; beyond the kept
    ones they stay zero, which costs less than to cut them off and to fill them up at each transform.
    """

    points: int
    length: float
    dealias: Dealias = "2/3"
    setting: Setting = ON_CPU

    @property
    def kept(self) -> int:
        """Modes that are not held at zero, the mean included."""
        return kept_modes(self.points, self.dealias)

    @property
    def wave_numbers(self) -> Float[Tensor, " mode"]:
        """Return 2πk/L, double precision."""
        modes = torch.arange(self.points // 2 + 1, device=self.setting.device, dtype=torch.float64)
        return modes * (2 * math.pi / self.length)

    def to_spectral(self, fields: Float[Tensor, "*batch points 1"]) -> Complex[Tensor, "*batch mode"]:
        """Return the kept coefficients and zeros."""
        spectrum: Tensor = torch.fft.rfft(fields[..., 0].to(self.setting.dtype), norm="forward")
        spectrum[..., self.kept :] = 0
        return spectrum

    def to_physical(self, coefficients: Complex[Tensor, "*batch mode"]) -> Float[Tensor, "*batch points 1"]:
        """Return the fields."""
        fields: Tensor = torch.fft.irfft(coefficients, n=self.points, norm="forward")
        return fields[..., None]

    def semilinear(self, linear: Tensor) -> Semilinear:
        """Return u_t + (u²/2)_x = L u, given the diagonal of L.

        N(v) = -(ik/2) F[(F⁻¹v)²], and 0 for modes that are not kept. The factor of mode 0 is exactly 0, so
        the mean is conserved to round-off.
        """
        # The transforms of the product leave out the factor 1/n, which is cheaper here.
        symbol = -0.5j * self.wave_numbers / self.points
        symbol[self.kept :] = 0
        product = Product(symbol.to(self.setting.complex_dtype), self._square)
        return Semilinear(linear, product, self.to_spectral, self.to_physical)

    def _square(self, v: Complex[Tensor, "*batch mode"]) -> Complex[Tensor, "*batch mode"]:
        u = torch.fft.irfft(v, n=self.points, norm="forward")
        # In place is faster; a gradient needs u itself.
        result: Tensor = torch.fft.rfft(u * u if is_differentiated(u) else u.mul_(u))
        return result

    def tail_energy(self, fields: Float[Tensor, "*batch points 1"]) -> Float[Tensor, "*batch"]:
        """Return the share of energy, mean apart, in the highest tenth of the kept modes."""
        spectrum: Tensor = torch.fft.rfft(fields[..., 0].double())
        energy = spectrum[..., 1 : self.kept].abs().square()
        tail = max(1, round(0.1 * energy.shape[-1]))
        return energy[..., -tail:].sum(-1) / energy.sum(-1).clamp_min(torch.finfo(torch.float64).tiny)
