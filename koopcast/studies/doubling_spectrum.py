"""The doubling map in Fourier functions: false eigenvalues, and the residuals that expose them."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Complex, Float
from pydantic import Field, PositiveInt
from torch import Tensor

from koopcast.numerics.galerkin import Galerkin
from koopcast.progress import report
from koopcast.studies.base import Findings, StudySpec

SUBJECT = "fourier"
METRICS = ("unit_residual", "least_false_residual", "isometry_gap", "circle_tau")


class DoublingSpectrumSpec(StudySpec):
    """EDMD of θ ← 2θ with e^{ikθ}, |k| ≤ n: eigenvalue 1, and 2n eigenvalues near 0 that the system has not.

    The Koopman operator is an isometry, so that no z inside the circle has a residual below 1 - |z|, in any
    dictionary. Samples are the nodes of a quadrature that is exact here.
    """

    kind: Literal["doubling_spectrum"] = "doubling_spectrum"
    sizes: tuple[PositiveInt, ...] = Field((8, 32, 128), min_length=1)
    """Largest wavenumbers n."""
    radii: PositiveInt = 5
    """Circles of points z inside the unit circle, beside the centre."""
    angles: PositiveInt = 24
    """Points on each circle."""

    reference = "Colbrook, Mezić & Stepanenko 2024, Limits and powers of Koopman learning"

    def metrics(self) -> Mapping[str, str]:
        """Return the residual of eigenvalue 1, the least one of the others, the greatest 1 - |z| - τ(z)
        inside the circle, and the greatest τ on it.
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the one dictionary, at all sizes."""
        return {SUBJECT: sorted(set(self.sizes))}

    def run(self, seed: int) -> Findings:
        """Decompose size by size; nothing is drawn."""
        scores: dict[str, dict[str, dict[str, float]]] = {metric: {SUBJECT: {}} for metric in METRICS}
        tables = []
        sizes = sorted(set(self.sizes))
        for done, n in enumerate(sizes):
            galerkin = doubling_galerkin(n)
            pairs = galerkin.pairs()
            unit = int((pairs.values - 1).abs().argmin())
            others = torch.arange(len(pairs.values)) != unit
            inside, circle = self._points()
            on_circle = galerkin.tau(circle)
            values = (
                pairs.residuals[unit],
                pairs.residuals[others].min(),
                (1 - inside.abs() - galerkin.tau(inside)).max(),
                on_circle.max(),
            )
            for metric, value in zip(METRICS, values, strict=True):
                scores[metric][SUBJECT][str(n)] = float(value)
            table = {"re": pairs.values.real, "im": pairs.values.imag, "residual": pairs.residuals}
            tables.append(pd.DataFrame({name: column.numpy() for name, column in table.items()}).assign(n=n))
            report("size", done + 1, len(sizes))
        return Findings(scores, {"pairs": pd.concat(tables, ignore_index=True)})

    def _points(self) -> tuple[Complex[Tensor, " inside"], Complex[Tensor, " circle"]]:
        angle = 2 * math.pi * torch.arange(self.angles, dtype=torch.float64) / self.angles
        circle = torch.polar(torch.ones_like(angle), angle)
        radius = torch.arange(self.radii + 1, dtype=torch.float64) / (self.radii + 1)
        return (radius[:, None] * circle).flatten(), circle


def doubling_galerkin(n: int) -> Galerkin:
    """Return the matrices of e^{ikθ}, |k| ≤ n, under θ ← 2θ.

    At 4n + 1 equidistant angles the trapezoidal rule is exact for all products of functions and of their
    images.
    """
    nodes = 4 * n + 1
    angle: Float[Tensor, " node"] = 2 * math.pi * torch.arange(nodes, dtype=torch.float64) / nodes
    waves = torch.arange(-n, n + 1, dtype=torch.float64)
    return Galerkin.of(torch.exp(1j * angle[:, None] * waves), torch.exp(2j * angle[:, None] * waves))
