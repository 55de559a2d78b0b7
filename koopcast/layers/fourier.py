"""Truncated Fourier transforms of real fields on channels-last tensors, by matrix products or by FFT.

A spectrum is real, `(batch, 2, *mode, channel)`: real parts, then imaginary parts. Along every space axis
but the last the kept waves stand in FFT order, 0 .. ⌈M/2⌉-1 and -⌊M/2⌋ .. -1; along the last they are 0 ..
⌊M/2⌋, since a real field's other half is the conjugate. Coefficients are x̂(k) = mean over the grid of x(n)
e^{-2πi k·n/N}.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Band:
    """The waves of one axis: `positive` from 0 up, `negative` from -1 down; a half axis (the last) has no
    negative ones.
    """

    positive: int
    negative: int

    @property
    def size(self) -> int:
        """Number of waves."""
        return self.positive + self.negative

    def waves(self, device: torch.device) -> Int[Tensor, " mode"]:
        """Return the wave numbers in FFT order."""
        return torch.cat(
            [torch.arange(self.positive, device=device), torch.arange(-self.negative, 0, device=device)]
        )

    def within(self, size: int) -> "Band":
        """Return the waves that a grid of `size` points can hold."""
        if self.negative:
            return Band(min(self.positive, (size + 1) // 2), min(self.negative, size // 2))
        return Band(min(self.positive, size // 2 + 1), 0)


def bands(modes: Sequence[int]) -> tuple[Band, ...]:
    """Return the waves of each axis for M kept modes, both signs counted."""
    full = [Band(count - count // 2, count // 2) for count in modes[:-1]]
    return (*full, Band(modes[-1] // 2 + 1, 0))


def analyse_by_matrices(
    field: Float[Tensor, "batch *space channel"], kept: Sequence[Band]
) -> Float[Tensor, "batch 2 *mode channel"]:
    """Return the spectrum by real matrix products, the last space axis first."""
    batch, *shape, channels = field.shape
    matrix = _half_analysis(shape[-1], kept[-1], field.dtype, field.device)
    rows = _apply(matrix, field, math.prod((batch, *shape[:-1])), shape[-1])
    for axis in reversed(range(len(shape) - 1)):
        matrix = _full_analysis(shape[axis], kept[axis], field.dtype, field.device)
        rows = _apply(matrix, rows, math.prod((batch, *shape[:axis])), 2 * shape[axis])
    return rows.reshape(batch, 2, *(band.size for band in kept), channels)


def synthesise_by_matrices(
    spectrum: Float[Tensor, "batch 2 *mode channel"],
    kept: Sequence[Band],
    shape: Sequence[int],
    folded: int | None,
) -> tuple[Float[Tensor, "point half"], Float[Tensor, "batch *outer half channel"]]:
    """Return the last factors of the field on a grid of `shape`: on each line of the last axis it is M r.

    Args:
        spectrum: Coefficients of the waves `kept`.
        kept: Waves of each axis.
        shape: Points of each axis.
        folded: The wave of the last axis that is its own conjugate on the grid (Nyquist), if there is one.
    """
    batch, channels = spectrum.shape[0], spectrum.shape[-1]
    rows = spectrum
    for axis in range(len(shape) - 1):
        matrix = _full_synthesis(shape[axis], kept[axis], spectrum.dtype, spectrum.device)
        rows = _apply(matrix, rows, math.prod((batch, *shape[:axis])), 2 * kept[axis].size)
    matrix = _half_synthesis(shape[-1], kept[-1], folded, spectrum.dtype, spectrum.device)
    return matrix, rows.reshape(batch, *shape[:-1], 2 * kept[-1].size, channels)


def lines(
    matrix: Float[Tensor, "point half"], rows: Float[Tensor, "batch *outer half channel"]
) -> Float[Tensor, "batch *outer point channel"]:
    """Return M r on each line: the field whose factors these are."""
    return _apply(matrix, rows, math.prod(rows.shape[:-2]), rows.shape[-2]).reshape(
        *rows.shape[:-2], len(matrix), rows.shape[-1]
    )


def analyse_by_fft(
    field: Float[Tensor, "batch *space channel"], kept: Sequence[Band]
) -> Float[Tensor, "batch 2 *mode channel"]:
    """Return the spectrum by FFT, one axis at a time; what is not kept is cut before the next axis."""
    axes = len(kept)
    spectrum = torch.fft.rfft(field, dim=axes, norm="forward").narrow(axes, 0, kept[-1].size)
    for dim in range(axes - 1, 0, -1):
        waves = kept[dim - 1].waves(field.device) % field.shape[dim]
        spectrum = torch.fft.fft(spectrum, dim=dim, norm="forward").index_select(dim, waves)
    return torch.view_as_real(spectrum).movedim(-1, 1)


def synthesise_by_fft(
    spectrum: Float[Tensor, "batch 2 *mode channel"],
    kept: Sequence[Band],
    shape: Sequence[int],
    folded: int | None,
) -> Float[Tensor, "batch *space channel"]:
    """Return the field on a grid of `shape` by FFT, on the kept columns only (arguments as for the
    matrices).
    """
    axes = len(shape)
    values = torch.view_as_complex(spectrum.movedim(1, -1).contiguous())
    for dim, (band, size) in enumerate(zip(kept[:-1], shape, strict=False), start=1):
        padded = values.new_zeros(*values.shape[:dim], size, *values.shape[dim + 1 :])
        padded = padded.index_copy(dim, band.waves(spectrum.device) % size, values)
        values = torch.fft.ifft(padded, dim=dim, norm="forward")
    if folded is not None and 2 * folded < shape[-1]:
        weight = torch.ones(kept[-1].size, dtype=spectrum.dtype, device=spectrum.device)
        weight[folded] = 0.5
        values = values * weight[:, None]
    field: Tensor = torch.fft.irfft(values, n=shape[-1], dim=axes, norm="forward")
    return field


def _apply(matrix: Tensor, rows: Tensor, batch: int, contracted: int) -> Tensor:
    """Multiply the block of `contracted` rows that follows the leading `batch` entries."""
    return torch.bmm(matrix.expand(batch, -1, -1), rows.reshape(batch, contracted, -1))


def _cached(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep the matrices made last; those made while a graph is exported belong to the graph alone."""
    kept = lru_cache(maxsize=64)(make)

    @wraps(make)
    def get(*arguments: Any) -> Tensor:
        return make(*arguments) if torch.compiler.is_compiling() else kept(*arguments)

    return get


@_cached
def _half_analysis(size: int, band: Band, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Rows (part, wave), columns (point): [cos; -sin] / N."""
    cos, sin = _waves(size, band, device)
    return _stored(torch.cat([cos, -sin]) / size, dtype)


@_cached
def _full_analysis(size: int, band: Band, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Rows (part, wave), columns (point, part): multiplication by e^{-iθ} / N."""
    cos, sin = _waves(size, band, device)
    real = torch.stack([cos, sin], dim=-1)
    imaginary = torch.stack([-sin, cos], dim=-1)
    return _stored(torch.cat([real, imaginary]).flatten(1) / size, dtype)


@_cached
def _full_synthesis(size: int, band: Band, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Rows (point, part), columns (part, wave): multiplication by e^{iθ}."""
    return _stored(_full_analysis(size, band, torch.float64, device).T * size, dtype)


@_cached
def _half_synthesis(
    size: int, band: Band, folded: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Rows (point), columns (part, wave): [w cos, -w sin] with w = 1 for waves that are their own
    conjugates, else 2.
    """
    cos, sin = _waves(size, band, device)
    weight = torch.full((band.size, 1), 2.0, dtype=torch.float64, device=device)
    weight[0] = 1
    if folded is not None:
        weight[folded] = 1
    return _stored(torch.cat([weight * cos, -weight * sin]).T, dtype)


def _waves(size: int, band: Band, device: torch.device) -> tuple[Tensor, Tensor]:
    # The product is reduced modulo N in integers, so that angles carry no rounding from large k n.
    steps = torch.outer(band.waves(device), torch.arange(size, device=device)) % size
    angle = steps.to(torch.float64) * (2 * math.pi / size)
    return angle.cos(), angle.sin()


def _stored(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an ordinary tensor even in inference mode, since the cache outlives it."""
    with torch.inference_mode(False):
        return matrix.clone().to(dtype).contiguous()
