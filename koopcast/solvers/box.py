"""Operators with constant coefficients on a box, inverted by fast transforms."""

import numpy as np
import scipy.fft
from jaxtyping import Float

from koopcast.linear import Box, Transform

NULL = 1e-13
"""Eigenvalues below this share of the largest are zero."""

LARGEST_FACTOR = 43
"""Prime factor of a length up to which its transforms are fast: beyond it they may take thrice as long."""


def are_fast(transforms: tuple[Transform, ...], grid: tuple[int, ...]) -> bool:
    """Return whether the lengths of all transforms have prime factors up to LARGEST_FACTOR alone."""
    lengths = [n + 1 if kind == "dirichlet" else n for kind, n in zip(transforms, grid, strict=True)]
    return all(_rest(length) == 1 for length in lengths)


def _rest(length: int) -> int:
    """Return what is left of a length without its small factors."""
    for factor in range(2, LARGEST_FACTOR + 1):
        while length % factor == 0:
            length //= factor
    return length


class BoxInverse:
    """b -> A⁺ b = Q Λ⁺ Qᴴ b: modes of eigenvalue zero are left out of the solution."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self._grid = box.eigenvalues.shape
        self._axes = {kind: _axes_of(box, kind) for kind in ("dirichlet", "neumann", "periodic")}
        eigenvalues = box.eigenvalues
        if periodic := self._axes["periodic"]:
            # The fields are real: half of the modes of the last periodic axis say it all.
            half = self._grid[periodic[-1]] // 2 + 1
            eigenvalues = np.take(eigenvalues, np.arange(half), axis=periodic[-1])
        is_null = np.abs(eigenvalues) <= NULL * np.abs(eigenvalues).max()
        self._inverse = np.where(is_null, 0.0, 1 / np.where(is_null, 1.0, eigenvalues))

    def __call__(self, b: Float[np.ndarray, " unknown"]) -> Float[np.ndarray, " unknown"]:
        """Return A⁺ b."""
        return self._synthesised(self._inverse * self._analysed(b))

    def _analysed(self, b: np.ndarray) -> np.ndarray:
        f = b.reshape(self._grid)
        if axes := self._axes["dirichlet"]:
            f = scipy.fft.dstn(f, type=1, axes=axes, norm="ortho")
        if axes := self._axes["neumann"]:
            f = scipy.fft.dctn(f, type=2, axes=axes, norm="ortho")
        if axes := self._axes["periodic"]:
            f = scipy.fft.rfftn(f, axes=axes, norm="ortho")
        return f

    def _synthesised(self, f: np.ndarray) -> np.ndarray:
        if axes := self._axes["periodic"]:
            sizes = [self._grid[axis] for axis in axes]
            f = scipy.fft.irfftn(f, s=sizes, axes=axes, norm="ortho")
        if axes := self._axes["neumann"]:
            f = scipy.fft.idctn(f, type=2, axes=axes, norm="ortho")
        if axes := self._axes["dirichlet"]:
            f = scipy.fft.idstn(f, type=1, axes=axes, norm="ortho")
        return f.reshape(-1)


def _axes_of(box: Box, kind: Transform) -> list[int]:
    return [axis for axis, transform in enumerate(box.transforms) if transform == kind]
