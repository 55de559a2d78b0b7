"""Gaussian fields with zero flux through the ends: sums of cosines with independent normal weights."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.grids import Axis
from koopcast.numerics.arrays import normal
from koopcast.random_fields.base import RandomFieldSpec


class CosineGaussianSpec(RandomFieldSpec):
    """Gaussian field N(0, τ^(2α-d) (-Δ + τ²)^(-α)), zero-flux Laplacian, mean removed."""

    kind: Literal["cosine_gaussian"] = "cosine_gaussian"
    alpha: float = Field(2.0, gt=0)
    """Smoothness α, above d/2."""
    tau: PositiveFloat = 3.0
    """Inverse correlation length τ."""
    grid: Literal["nodes", "cells"] = "nodes"
    """Where values are taken: at the nodes of the axes, ends included, or at cell centres (i + 1/2) L/n, for
    systems that live there."""

    reference = (
        "GRF.m of the FNO repository (Li et al. 2021), which takes values at cell centres: `grid: cells`"
    )

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why the law has no meaning on such axes."""
        if any(axis.periodic or axis.size < 2 for axis in axes):
            return "cosine_gaussian has zero flux through the ends of its axes and none is periodic; " \
                "choose a periodic field"  # fmt: skip
        if self.alpha <= len(axes) / 2:
            return (
                f"alpha: {self.alpha:g} is not above {len(axes) / 2:g}, half the number of axes: the "
                "variance would grow without bound as the grid is refined; raise alpha"
            )
        return None

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw Σ_m c_m ξ_m Π e_m(x): e_0 = 1/√L, e_m = √(2/L) cos(π m x / L)."""
        sizes = tuple(axis.size for axis in axes)
        lengths = tuple(axis.length or 1.0 for axis in axes)
        xi = shell_normals(sizes, count, generator).cpu().numpy()
        values = series(self.deviations(sizes, lengths) * xi, lengths, self.grid)
        return torch.from_numpy(values).to(generator.device)

    def deviations(self, sizes: tuple[int, ...], lengths: tuple[float, ...]) -> Float[np.ndarray, "*mode"]:
        """Return c_m = τ^(α-d/2) (Σ (π m_i / L_i)² + τ²)^(-α/2), and 0 for the mean."""
        waves = np.meshgrid(
            *((math.pi / length * np.arange(size)) ** 2 for size, length in zip(sizes, lengths, strict=True)),
            indexing="ij",
            sparse=True,
        )
        d = len(sizes)
        c = self.tau ** (self.alpha - d / 2) * (sum(waves) + self.tau**2) ** (-self.alpha / 2)
        c[(0,) * d] = 0.0
        return np.asarray(c)


def shell_normals(
    sizes: tuple[int, ...], count: int, generator: torch.Generator
) -> Float[Tensor, "count *mode"]:
    """Draw a normal number for every mode, in shells of equal largest index, coarse ones first.

    Each shell is one draw of the same length whatever the grid, so that a finer grid draws the same numbers
    and then more.
    """
    largest, d = max(sizes), len(sizes)
    shells = [normal((m + 1) ** d - m**d, count, generator=generator) for m in range(largest)]
    order = torch.from_numpy(_shell_order(largest, d)).to(generator.device)
    numbers = torch.empty(largest**d, count, dtype=torch.float64, device=generator.device)
    numbers[order] = torch.cat(shells)
    cube = numbers.T.reshape(count, *[largest] * d)
    return cube[(slice(None), *(slice(size) for size in sizes))]


@lru_cache(maxsize=16)
def _shell_order(size: int, dimension: int) -> Int[np.ndarray, " mode"]:
    """Return flat indices of a cube of modes, sorted by their largest index; within a shell by the whole
    index, read from the first axis on.
    """
    index = np.indices((size,) * dimension).reshape(dimension, -1)
    return np.lexsort((*index[::-1], index.max(axis=0)))


def series(
    weights: Float[np.ndarray, "count *mode"], lengths: tuple[float, ...], grid: Literal["nodes", "cells"]
) -> Float[np.ndarray, "count *space"]:
    """Return Σ_m w_m Π e_m(x), with e_m orthonormal cosines, at nodes or cell centres of each axis."""
    values = weights / math.sqrt(math.prod(lengths))
    for axis in range(1, values.ndim):
        values = np.moveaxis(values, axis, -1)
        n = values.shape[-1]
        if grid == "cells":
            values = scipy.fft.idct(values, type=2, norm="ortho") * math.sqrt(n)
        else:
            # DCT-I counts every weight twice but those of the first and last mode.
            factor = np.full(n, math.sqrt(0.5))
            factor[0], factor[-1] = 1.0, math.sqrt(2.0)
            values = scipy.fft.dct(values * factor, type=1)
        values = np.moveaxis(values, -1, axis)
    return np.ascontiguousarray(values)
