"""Flow on a periodic square in Fourier coefficients of the vorticity, with products free of aliases."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting
from koopcast.numerics.fourier import Dealias, kept_modes


@dataclass(frozen=True)
class PeriodicSquare:
    """A grid (j L/n, i L/n) on a periodic square, axes (y, x).

    Coefficients are `(*batch, n, K + 1)`: all n modes along y in the order of the FFT, and 0..K along x.
    Those with |k_y| > K stay zero, and so does the mean.
    """

    points: int
    length: float
    dealias: Dealias = "2/3"
    setting: Setting = ON_CPU

    @property
    def kept(self) -> int:
        """Modes 0..K that are not held at zero along an axis."""
        return kept_modes(self.points, self.dealias)

    @property
    def wave_numbers(self) -> tuple[Float[Tensor, "y 1"], Float[Tensor, "1 kept"]]:
        """Return k_y and k_x, double precision."""
        modes = torch.fft.fftfreq(
            self.points, 1 / self.points, device=self.setting.device, dtype=torch.float64
        )
        k = modes * (2 * math.pi / self.length)
        return k[:, None], k[None, : self.kept]

    @property
    def mask(self) -> Float[Tensor, "y kept"]:
        """Return 1 where coefficients are kept, 0 elsewhere and for the mean."""
        k, _ = self.wave_numbers
        limit = (self.kept - 0.5) * (2 * math.pi / self.length)
        mask = (k.abs() < limit).double().repeat(1, self.kept)
        mask[0, 0] = 0
        return mask

    @property
    def laplacian(self) -> Float[Tensor, "y kept"]:
        """Return -(k_x² + k_y²), double precision."""
        ky, kx = self.wave_numbers
        return -(kx**2 + ky**2)

    def to_spectral(self, fields: Float[Tensor, "*batch y x 1"]) -> Complex[Tensor, "*batch y kept"]:
        """Return the kept coefficients of fields less their mean."""
        mask = (self.mask / self.points**2).to(self.setting.dtype)
        return self._forward(fields[..., 0].to(self.setting.dtype)) * mask

    def to_physical(self, coefficients: Complex[Tensor, "*batch y kept"]) -> Float[Tensor, "*batch y x 1"]:
        """Return the fields."""
        return self._backward(coefficients)[..., None]

    def _forward(self, fields: Float[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y kept"]:
        # Columns that are not kept are dropped before the second transform. The factor 1/n² is the caller's.
        result: Tensor = torch.fft.fft(torch.fft.rfft(fields)[..., : self.kept], dim=-2)
        return result

    def _backward(self, coefficients: Complex[Tensor, "*batch y kept"]) -> Float[Tensor, "*batch y x"]:
        columns = torch.fft.ifft(coefficients, dim=-2, norm="forward")
        result: Tensor = torch.fft.irfft(columns, n=self.points, norm="forward")
        return result

    def advection(
        self, forcing: Float[Tensor, "y x"] | None = None
    ) -> Callable[[Complex[Tensor, "*batch y kept"]], Complex[Tensor, "*batch y kept"]]:
        """Return N(w) = F[f - u·∇ω] with the velocity u = (ψ_y, -ψ_x), -Δψ = ω.

        For a field without divergence u·∇ω = (∂_xx - ∂_yy)(u v) + ∂_xy (v² - u²): four transforms in place
        of five. Products of kept modes have no aliases among them, so N is the exact projection, and
        <u·∇ω, ω> = <u·∇ω, ψ> = 0 to round-off.
        """
        (ky, kx), mask, precision = self.wave_numbers, self.mask, self.setting.complex_dtype
        inverse = mask / torch.where(mask == 0, -1.0, -self.laplacian)
        to_u, to_v = (1j * ky * inverse).to(precision), (-1j * kx * inverse).to(precision)
        mask = mask / self.points**2
        of_uv, of_squares = (mask * (kx**2 - ky**2)).to(precision), (mask * kx * ky).to(precision)
        f = None if forcing is None else self.to_spectral(forcing[..., None])

        def nonlinear(w: Complex[Tensor, "*batch y kept"]) -> Complex[Tensor, "*batch y kept"]:
            u, v = self._backward(to_u * w), self._backward(to_v * w)
            result = of_uv * self._forward(u * v)
            result.addcmul_(of_squares, self._forward((v - u) * (v + u)))
            return result if f is None else result.add_(f)

        return nonlinear

    def tail_energy(self, vorticity: Float[Tensor, "*batch y x 1"]) -> Float[Tensor, "*batch"]:
        """Return the share of kinetic energy, Σ |ω_k|²/|k|², where |k_x| or |k_y| is in the highest tenth of
        the kept modes.
        """
        double = PeriodicSquare(self.points, self.length, self.dealias, Setting(vorticity.device))
        modes = torch.fft.fftfreq(self.points, 1 / self.points, device=vorticity.device).abs()
        shell, highest = torch.maximum(modes[:, None], modes[: self.kept]), self.kept - 1
        # Columns k_x > 0 stand for -k_x as well.
        weight = torch.where(modes[: self.kept] > 0, 2.0, 1.0) / (-double.laplacian).clamp_min(1e-300)
        energy = double.to_spectral(vorticity).abs().square() * weight
        tail = energy * (shell > highest - max(1, round(0.1 * highest)))
        total = energy.sum((-2, -1)).clamp_min(torch.finfo(torch.float64).tiny)
        return tail.sum((-2, -1)) / total
