"""Spectral convolution: multiply the low Fourier modes of a field by learned matrices."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers import fourier

Backend = Literal["auto", "dft", "fft"]
LARGEST_MATRIX = 512
"""Grids with more points than this along an axis are transformed by FFT under `auto`."""


class SpectralConvolution(nn.Module):
    """y(n) = Re Σ_k w_k R(k)ᵀ x̂(k) e^{2πi k·n/N} + b, the sum over the kept modes.

    The weights do not depend on the grid: the same ones act on any number of points, odd ones too, and the
    result can be asked for on another grid. Modes that a grid cannot hold are left out. Weights are stored
    `(2, *mode, in, out)`, real and imaginary parts apart, modes in FFT order (see `koopcast.layers.fourier`).

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        modes: Kept modes of each axis, both signs counted.
        backend: `dft` truncated matrix products, `fft`, or `auto`: by the sizes at hand.
        generator: Draws the weights: complex normal, variance 2 / (channels_in + channels_out).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        modes: Sequence[int],
        *,
        backend: Backend = "auto",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.bands = fourier.bands(modes)
        self.backend = backend
        scale = math.sqrt(2 / (channels_in + channels_out))
        shape = (2, *(band.size for band in self.bands), channels_in, channels_out)
        self.weight = nn.Parameter(scale * math.sqrt(0.5) * torch.randn(shape, generator=generator))
        self.bias = nn.Parameter(scale * torch.randn(channels_out, generator=generator))

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"], shape: Sequence[int] | None = None
    ) -> Float[Tensor, "batch *out channel_out"]:
        """Return the convolution on the grid of `x`, or on a grid of `shape`."""
        given = x.shape[1:-1]
        shape = tuple(given if shape is None else shape)
        common = [min(pair) for pair in zip(given, shape, strict=True)]
        kept = [band.within(size) for band, size in zip(self.bands, common, strict=True)]
        folded = common[-1] // 2 if common[-1] % 2 == 0 and kept[-1].size > common[-1] // 2 else None
        if self._is_small(max(*given, *shape), common):
            mixed = self._mix(fourier.analyse_by_matrices(x, kept), kept)
            return fourier.synthesise_by_matrices(mixed, kept, shape, folded)
        mixed = self._mix(fourier.analyse_by_fft(x, kept), kept)
        return fourier.synthesise_by_fft(mixed, kept, shape, folded)

    def _is_small(self, longest: int, common: Sequence[int]) -> bool:
        if self.backend != "auto":
            return self.backend == "dft"
        sizes = [2 * band.positive for band in self.bands]
        return longest <= LARGEST_MATRIX and all(
            size <= points // 2 + 2 for size, points in zip(sizes, common, strict=True)
        )

    def _mix(
        self, spectrum: Float[Tensor, "batch 2 *mode channel_in"], kept: Sequence[fourier.Band]
    ) -> Float[Tensor, "batch 2 *mode channel_out"]:
        """Multiply each mode by its complex matrix; the bias enters at wave 0."""
        weight = self._kept_weight(kept).flatten(1, -3)
        real, imaginary = spectrum.flatten(2, -2).permute(1, 2, 0, 3).unbind()
        offset = nn.functional.pad(self.bias[None, None], (0, 0, 0, 0, 0, weight.shape[1] - 1))
        out_real = torch.baddbmm(torch.baddbmm(offset, real, weight[0]), imaginary, weight[1], alpha=-1)
        out_imaginary = torch.baddbmm(torch.bmm(real, weight[1]), imaginary, weight[0])
        mixed = torch.stack([out_real, out_imaginary]).permute(2, 0, 1, 3)
        return mixed.reshape(*spectrum.shape[:-1], -1)

    def _kept_weight(self, kept: Sequence[fourier.Band]) -> Float[Tensor, "2 *mode channel_in channel_out"]:
        weight: Tensor = self.weight
        for dim, (own, band) in enumerate(zip(self.bands, kept, strict=True), start=1):
            if band != own:
                weight = weight.index_select(dim, band.waves(weight.device) % own.size)
        return weight
