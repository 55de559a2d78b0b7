"""Spectral convolution: multiply the low Fourier modes of a field by learned matrices."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers import fourier
from koopcast.layers.factorised_weights import DENSE, Compression, FactorisedWeights, Rows

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
        compression: Weights as a product of factors instead; joint ones are those of `forward`.
        generator: Draws the weights: complex normal, variance 2 / (channels_in + channels_out).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        modes: Sequence[int],
        *,
        backend: Backend = "auto",
        compression: Compression = DENSE,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.bands = fourier.bands(modes)
        self.backend = backend
        scale = math.sqrt(2 / (channels_in + channels_out))
        mode = tuple(band.size for band in self.bands)
        self.is_plain = compression.is_plain
        if self.is_plain:
            draw = torch.randn(2, *mode, channels_in, channels_out, generator=generator)
            self.weight = nn.Parameter(scale * math.sqrt(0.5) * draw)
        elif not compression.joint:
            self.factors = compression.weights(mode, (channels_in, channels_out), generator=generator)
        self.bias = nn.Parameter(scale * torch.randn(channels_out, generator=generator))

    def forward(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        shape: Sequence[int] | None = None,
        joint: tuple[FactorisedWeights, int] | None = None,
    ) -> Float[Tensor, "batch *out channel_out"]:
        """Return the convolution on the grid of `x`, or on a grid of `shape`.

        Args:
            x: The field.
            shape: Points of the result.
            joint: Weights of all layers, and which layer this is.
        """
        made, matrix = self.factors_of(x, shape, joint)
        return made if matrix is None else fourier.lines(matrix, made)

    def factors_of(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        shape: Sequence[int] | None = None,
        joint: tuple[FactorisedWeights, int] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the convolution r and None, or r and M where it is M r on each line of the last axis.

        A large field is better made where it is used, a part at a time.
        """
        given = x.shape[1:-1]
        shape = tuple(given if shape is None else shape)
        common = [min(pair) for pair in zip(given, shape, strict=True)]
        kept = [band.within(size) for band, size in zip(self.bands, common, strict=True)]
        folded = common[-1] // 2 if common[-1] % 2 == 0 and kept[-1].size > common[-1] // 2 else None
        if self._is_small(max(*given, *shape), common):
            mixed = self._mix(fourier.analyse_by_matrices(x, kept), kept, joint)
            matrix, rows = fourier.synthesise_by_matrices(mixed, kept, shape, folded)
            return rows, matrix
        mixed = self._mix(fourier.analyse_by_fft(x, kept), kept, joint)
        return fourier.synthesise_by_fft(mixed, kept, shape, folded), None

    def _is_small(self, longest: int, common: Sequence[int]) -> bool:
        if self.backend != "auto":
            return self.backend == "dft"
        sizes = [2 * band.positive for band in self.bands]
        return longest <= LARGEST_MATRIX and all(
            size <= points // 2 + 2 for size, points in zip(sizes, common, strict=True)
        )

    def _mix(
        self,
        spectrum: Float[Tensor, "batch 2 *mode channel_in"],
        kept: Sequence[fourier.Band],
        joint: tuple[FactorisedWeights, int] | None,
    ) -> Float[Tensor, "batch 2 *mode channel_out"]:
        """Multiply each mode by its complex matrix; the bias enters at wave 0."""
        rows = [
            None if band == own else band.waves(spectrum.device) % own.size
            for own, band in zip(self.bands, kept, strict=True)
        ]
        if self.is_plain:
            return self._mix_by_parts(spectrum, rows)
        weights, layer = (self.factors, None) if joint is None else joint
        mixed = weights(torch.complex(*spectrum.unbind(1)), rows, layer)
        offset = self._offset(mixed[0].numel() // mixed.shape[-1]).reshape(mixed.shape[1:])
        return torch.stack([mixed.real + offset, mixed.imag], dim=1)

    def _mix_by_parts(
        self, spectrum: Float[Tensor, "batch 2 *mode channel_in"], rows: Rows
    ) -> Float[Tensor, "batch 2 *mode channel_out"]:
        weight: Tensor = self.weight
        for dim, chosen in enumerate(rows, start=1):
            weight = weight if chosen is None else weight.index_select(dim, chosen)
        a, b = weight.flatten(1, -3).unbind()
        real, imaginary = spectrum.flatten(2, -2).permute(1, 2, 0, 3).unbind()
        out_real = torch.baddbmm(self._offset(len(a))[:, None], real, a)
        out_real = torch.baddbmm(out_real, imaginary, b, alpha=-1)
        out_imaginary = torch.baddbmm(torch.bmm(real, b), imaginary, a)
        mixed = torch.stack([out_real, out_imaginary], dim=1).permute(2, 1, 0, 3)
        return mixed.reshape(*spectrum.shape[:-1], -1)

    def _offset(self, num_modes: int) -> Float[Tensor, "mode channel_out"]:
        """Return the bias at wave 0, which is the first, and zeros at the others."""
        return nn.functional.pad(self.bias[None], (0, 0, 0, num_modes - 1))
