"""Orthonormal cosine and sine transforms of tensors, by fast Fourier transforms of real sequences."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


class CosineTransform:
    """The transform (DCT-II) of values at cell centres, X_k = c_k Σ_j x_j cos(πk(j + 1/2)/n), on the last
    axis.

    c_0 = √(1/n) and c_k = √(2/n) make it orthogonal. The values are put in the order 0, 2, 4, ..., 5, 3, 1,
    whose Fourier transform, turned by e^{-iπk/2n}, has the real part X_k and the imaginary part -X_{n-k}.
    """

    def __init__(
        self, size: int, device: torch.device | None = None, dtype: torch.dtype = torch.float64
    ) -> None:
        self.size = size
        self._half = size // 2 + 1
        turns = torch.arange(self._half, dtype=torch.float64) * (math.pi / (2 * size))
        scale = torch.full_like(turns, math.sqrt(2 / size))
        scale[0] = math.sqrt(1 / size)
        complex_dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
        self._turn = torch.polar(scale, -turns).to(device, complex_dtype)
        self._turn_back = torch.polar(1 / scale, turns).to(device, complex_dtype)

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Return the coefficients X of values x."""
        ordered = torch.cat((x[..., ::2], x[..., 1::2].flip(-1)), dim=-1)
        spectrum: Tensor = torch.fft.rfft(ordered) * self._turn
        rest = spectrum.imag[..., 1 : self.size - self._half + 1].flip(-1)
        return torch.cat((spectrum.real, -rest), dim=-1)

    def inverse(self, X: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Return the values x that have the coefficients X."""
        mirrored = torch.nn.functional.pad(X[..., self.size - self._half + 1 :].flip(-1), (1, 0))
        spectrum = torch.complex(X[..., : self._half], -mirrored) * self._turn_back
        ordered: Tensor = torch.fft.irfft(spectrum, n=self.size)
        x = torch.empty_like(ordered)
        evens = (self.size + 1) // 2
        x[..., ::2] = ordered[..., :evens]
        x[..., 1::2] = ordered[..., evens:].flip(-1)
        return x


def sine_transform(x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
    """Return X_k = √(2/(n+1)) Σ_j x_j sin(πjk/(n+1)), j, k = 1..n, on the last axis (DST-I): its own inverse.

    x are the values between two ends that are zero; the odd extension of them is transformed.
    """
    size = x.shape[-1]
    ends = torch.nn.functional.pad(x, (1, 1))
    odd: Tensor = torch.fft.rfft(torch.cat((ends, -x.flip(-1)), dim=-1))
    return odd.imag[..., 1 : size + 1] * -math.sqrt(0.5 / (size + 1))


def on_both_axes(
    transform: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch row column"]
) -> Float[Tensor, "*batch row column"]:
    """Return the transform along each of the last two axes."""
    return transform(transform(x).transpose(-1, -2)).transpose(-1, -2)
