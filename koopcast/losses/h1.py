"""Relative error of a field and of its slopes."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.grids import Axis, FieldsInfo
from koopcast.losses.base import LossSpec, Measure
from koopcast.losses.rel_l2 import FLOOR, relative
from koopcast.spec import Problem


class H1Spec(LossSpec):
    """Mean over batch and channels of ‖p - u‖ / ‖u‖ in the norm ‖v‖² = mean v² + (slope_weight · ℓ)² mean
    |∇v|².

    ℓ is the extent of each axis over 2π (an axis without one has extent 1), so that a sine with one wave in
    the domain has a slope of its own size. Slopes: spectral on periodic axes without masked cells; else
    differences of neighbours, which on a closed axis never reach across the wall, nor into a masked cell.
    """

    kind: Literal["h1"] = "h1"
    slope_weight: PositiveFloat = 1.0
    """Weight of the slopes against the values."""

    reference = "Czarnecki et al. 2017 (Sobolev training)"

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse axes without neighbours."""
        for axis in fields.axes:
            if axis.name == "point" or axis.size < 2:
                yield Problem((), f"axis '{axis.name}' has no slope; use rel_l2")

    def measure(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        measure: Measure,
    ) -> Float[Tensor, ""]:
        """Return the mean of the ratios."""
        error, size = self._square_norm(prediction - target, measure), self._square_norm(target, measure)
        return relative(error, size, FLOOR * measure.rms, measure.frames)

    def _square_norm(
        self, field: Float[Tensor, "batch *space channel"], measure: Measure
    ) -> Float[Tensor, "batch channel"]:
        total = measure.mean_square(field)
        for dim, axis in enumerate(measure.axes):
            total = total + self.slope_weight**2 * _mean_square_slope(field, dim, axis, measure.valid)
        return total


def _mean_square_slope(
    field: Float[Tensor, "batch *space channel"], dim: int, axis: Axis, valid: Bool[Tensor, "*space"]
) -> Float[Tensor, "batch channel"]:
    if axis.periodic and bool(valid.all()):
        return _spectral(field, dim, axis.size)
    step = 2 * math.pi / (axis.size if axis.periodic else axis.size - 1)
    ahead, pair = (
        (field.roll(-1, dim + 1), valid & valid.roll(-1, dim))
        if axis.periodic
        else (field.narrow(dim + 1, 1, axis.size - 1), _pairs(valid, dim))
    )
    here = field if axis.periodic else field.narrow(dim + 1, 0, axis.size - 1)
    slope = (ahead - here) / step * pair[..., None]
    return slope.square().flatten(1, -2).sum(1) / pair.sum().clamp_min(1)


def _pairs(valid: Bool[Tensor, "*space"], dim: int) -> Bool[Tensor, "*pairs"]:
    size = valid.shape[dim]
    return valid.narrow(dim, 1, size - 1) & valid.narrow(dim, 0, size - 1)


def _spectral(
    field: Float[Tensor, "batch *space channel"], dim: int, size: int
) -> Float[Tensor, "batch channel"]:
    """Return the mean square slope by Parseval; the Nyquist wave of an even grid has no slope of its own."""
    wave = torch.arange(size // 2 + 1, dtype=field.dtype, device=field.device)
    weight = 2 * wave.square()
    if size % 2 == 0:
        weight[-1] = 0
    spectrum = torch.view_as_real(torch.fft.rfft(field, dim=dim + 1, norm="forward"))
    power = spectrum.square().sum(-1).movedim(dim + 1, -1)
    return (power @ weight).reshape(field.shape[0], -1, field.shape[-1]).mean(1)
