"""A learned field: the bias of a spectral layer, one complex number a kept mode."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers import fourier


class SpectralBias(nn.Module):
    """y(n) = Re Σ_k w_k b(k) e^{2πi k·n/N}, the sum over the kept modes, on any grid; 0 at the start.

    Args:
        channels: Channels of the field.
        modes: Kept modes of each axis, both signs counted.
    """

    def __init__(self, channels: int, modes: Sequence[int]) -> None:
        super().__init__()
        self.bands = fourier.bands(modes)
        self.weight = nn.Parameter(torch.zeros(2, *(band.size for band in self.bands), channels))

    def forward(self, shape: Sequence[int]) -> Float[Tensor, "1 *space channel"]:
        """Return the field on a grid of `shape`."""
        kept = [band.within(size) for band, size in zip(self.bands, shape, strict=True)]
        weight: Tensor = self.weight
        for dim, (own, band) in enumerate(zip(self.bands, kept, strict=True), start=1):
            weight = weight.index_select(dim, band.waves(weight.device) % own.size)
        folded = shape[-1] // 2 if shape[-1] % 2 == 0 and kept[-1].size > shape[-1] // 2 else None
        return fourier.lines(*fourier.synthesise_by_matrices(weight[None], kept, shape, folded))
