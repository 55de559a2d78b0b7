"""Fourier coefficients of the field."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from koopcast.grids import Axis, FieldsInfo
from koopcast.observations.base import OperatorSpec, Placed, Scene
from koopcast.observations.operators.linear import of_matrix
from koopcast.spec import Problem


class SpectralSpec(OperatorSpec):
    """Coefficients c_k = mean of u exp(-2πi k·j/n) over the grid points j, as real and imaginary parts.

    The imaginary part is left out where it is always 0. Its observations have no place.
    """

    kind: Literal["spectral"] = "spectral"
    wavenumbers: list[int | list[int]] = Field([0, 1], min_length=1)
    """Each a list with one whole number an axis, or one number along the only axis."""

    reference = "discrete Fourier transform; Cooley and Tukey 1965"

    @property
    def is_located(self) -> bool:
        """Return False."""
        return False

    def place(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Return the rows of the transform for each observed variable."""
        info = scene.truth.info
        waves = torch.from_numpy(np.concatenate([_rows(k, info.shape) for k in self._vectors()]))
        matrix = torch.zeros(len(waves), len(scene.channels), info.num_cells, info.num_channels)
        matrix = matrix.double()
        for place, channel in enumerate(scene.channels):
            matrix[:, place, :, channel] = waves
        return of_matrix(matrix.flatten(2).flatten(0, 1), scene)

    def _vectors(self) -> list[tuple[int, ...]]:
        return [(k,) if isinstance(k, int) else tuple(k) for k in self.wavenumbers]

    def num_observations(self, sites: int, channels: int, num_cells: int) -> int:
        """Return two a wavenumber and variable, an upper bound."""
        return 2 * len(self.wavenumbers) * channels

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse axes that do not close, masks, and wavenumbers that the grid does not hold."""
        open_axes = [axis.name for axis in fields.axes if not axis.periodic]
        if open_axes:
            yield Problem((), f"axis {', '.join(open_axes)} is not periodic; use `linear` or `interpolate`")
        if fields.is_masked:
            yield Problem((), "the grid is masked, and has no Fourier coefficients; use `linear`")
        for position, k in enumerate(self._vectors()):
            if len(k) != len(fields.axes):
                text = f"{k} has {len(k)} numbers; the grid has {len(fields.axes)} axes"
                yield Problem(("wavenumbers", position), text)
            elif fault := _above_nyquist(k, fields.axes):
                yield Problem(("wavenumbers", position), fault)


def _above_nyquist(k: tuple[int, ...], axes: tuple[Axis, ...]) -> str | None:
    for number, axis in zip(k, axes, strict=True):
        if abs(number) > axis.size // 2:
            return f"{number} is above {axis.size // 2}, the Nyquist limit of axis {axis.name}; lower it"
    return None


def _rows(k: tuple[int, ...], shape: tuple[int, ...]) -> Float[np.ndarray, "row point"]:
    """Return the weights of real and imaginary part of one coefficient."""
    grid = np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")
    # Whole turns are taken off before the division, so that π is exact where it occurs.
    turns = sum((number * j % size) / size for number, j, size in zip(k, grid, shape, strict=True))
    wave = np.exp(-2j * np.pi * np.asarray(turns)).ravel() / np.prod(shape)
    is_real = all(2 * number % size == 0 for number, size in zip(k, shape, strict=True))
    return np.stack([wave.real] if is_real else [wave.real, wave.imag])
