"""Fields on another grid of the same domain."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.matrices import along_axis, stored

Interpolation = Literal["bilinear", "fourier"]
Resampling = Literal["bilinear", "fourier", "average"]


def resample(
    x: Float[Tensor, "batch *space channel"],
    shape: Sequence[int],
    periodic: Sequence[bool],
    mode: Resampling,
) -> Float[Tensor, "batch *out channel"]:
    """Return the field on a grid of `shape`: j / N on periodic axes, j / (N - 1) on closed ones.

    `bilinear` reads the piecewise linear interpolant; `fourier` the trigonometric one, cut at the coarser
    grid's Nyquist limit, on closed axes that of the field mirrored at its ends (a cosine series); `average`
    goes to coarser axes by the mean under a hat as wide as two new spacings, and to finer ones as `bilinear`.
    """
    for dim, (new, is_periodic) in enumerate(zip(shape, periodic, strict=True), start=1):
        old = x.shape[dim]
        if new != old:
            x = along_axis(_matrix(old, new, is_periodic, mode, x.dtype, x.device), x, dim)
    return x


class ResampledNetwork(nn.Module):
    """A network that runs on one grid alone: other fields are brought there, and its output back.

    Args:
        network: Maps `(batch, *shape, channels_in)` to `(batch, *shape, channels_out)`.
        shape: Its grid.
        periodic: Which axes are periodic.
        mode: How fields travel.
    """

    def __init__(
        self, network: nn.Module, shape: Sequence[int], periodic: Sequence[bool], mode: Interpolation
    ) -> None:
        super().__init__()
        self.network = network
        self.shape, self.periodic, self.mode = tuple(shape), tuple(periodic), mode

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"], *more: int
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the network's output on the grid of `x`; `more` is passed on."""
        result: Tensor = self.network(resample(x, self.shape, self.periodic, self.mode), *more)
        return resample(result, x.shape[1:-1], self.periodic, self.mode)


@lru_cache(maxsize=128)
def _matrix(
    old: int, new: int, is_periodic: bool, mode: Resampling, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Rows (new point), columns (old point)."""
    if mode == "fourier":
        matrix = _trigonometric(old, new) if is_periodic else _cosine(old, new)
    elif mode == "average" and new < old:
        matrix = _hat_means(old, new, is_periodic)
    else:
        matrix = _linear(old, new, is_periodic)
    return stored(matrix, dtype, device)


def _linear(old: int, new: int, is_periodic: bool) -> Float[Tensor, "new old"]:
    """Return hats one old spacing wide to either side around the old points."""
    ends = 0 if is_periodic else 1
    places = torch.arange(new, dtype=torch.float64) * ((old - ends) / max(1, new - ends))
    distance = places[:, None] - torch.arange(old, dtype=torch.float64)
    if is_periodic:
        distance = (distance + old / 2) % old - old / 2
    return (1 - distance.abs()).clamp_min(0)


def _hat_means(old: int, new: int, is_periodic: bool) -> Float[Tensor, "new old"]:
    """Return means of the old points under hats around the new ones, by the trapezoidal rule."""
    weights = _linear(new, old, is_periodic).T.contiguous()
    if not is_periodic:
        weights[:, [0, -1]] *= 0.5
    return weights / weights.sum(1, keepdim=True)


def _trigonometric(old: int, new: int) -> Float[Tensor, "new old"]:
    """Return the real transform forth and back, waves above the coarser Nyquist limit left out."""
    spectrum = torch.fft.rfft(torch.eye(old, dtype=torch.float64), dim=0, norm="forward")
    common = min(old, new)
    kept = spectrum[: common // 2 + 1].clone()
    # The finer grid counts both waves ± Nyquist of an even coarser one, which are one wave there.
    if common % 2 == 0 and old != new:
        kept[-1] *= 0.5 if new > old else 2.0
    padded = torch.zeros(new // 2 + 1, old, dtype=kept.dtype)
    padded[: len(kept)] = kept
    matrix: Tensor = torch.fft.irfft(padded, n=new, dim=0, norm="forward")
    return matrix


def _cosine(old: int, new: int) -> Float[Tensor, "new old"]:
    """Return the trigonometric interpolation of the field mirrored at both ends, seen on one half."""
    if old == 1 or new == 1:
        return _linear(old, new, is_periodic=False)
    mirrored = _trigonometric(2 * (old - 1), 2 * (new - 1))[:new]
    result = mirrored[:, :old].clone()
    result[:, 1 : old - 1] += mirrored[:, old:].flip(1)
    return result
