"""Kernels side by side on a rotation of the torus, whose Koopman eigenpairs are known."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from koopcast.kernels import AnyKernel
from koopcast.kernels.gaussian import GaussianSpec
from koopcast.kernels.quantum_zz import QuantumZZSpec
from koopcast.koopman.kernel_edmd import KernelEDMDSpec
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec
from koopcast.studies.sequences import Name

METRICS = ("residual", "dual_residual", "eigenvalue_error", "least_eigenvalue")
HARMONICS = 6
"""Exact eigenvalues e^{i(k₁α₁ + k₂α₂)} with |k| up to this are compared."""


def _default_kernels() -> dict[Name, AnyKernel]:
    return {"gaussian": GaussianSpec(), "quantum": QuantumZZSpec(qubits=4)}


class TorusKernelsSpec(StudySpec):
    """Kernel EDMD of (θ₁, θ₂) ← (θ₁ + α₁, θ₂ + α₂) in the coordinates (cos θ₁, sin θ₁, cos θ₂, sin θ₂).

    The pairs of smallest dual residual lead. Their residual is measured on fresh points.
    """

    kind: Literal["torus_kernels"] = "torus_kernels"
    angles: tuple[float, float] = (math.sqrt(2), math.sqrt(3))
    """α₁ and α₂, in radians."""
    samples: int = Field(400, ge=2)
    """Training points, uniform on the torus."""
    functions: PositiveInt = 32
    """Rank of the maps."""
    leading: PositiveInt = 5
    """Pairs over which residuals are averaged."""
    kernels: dict[Name, AnyKernel] = Field(default_factory=_default_kernels, min_length=1)
    """Names -> kernels of four coordinates."""

    reference = (
        "Colbrook, Mezić & Stepanenko 2024 (kernel EDMD, dual residual); Havlíček et al. 2019 (quantum)"
    )

    def metrics(self) -> Mapping[str, str]:
        """Return mean residual and mean dual residual of the leading pairs, their greatest distance to the
        exact spectrum, and the least eigenvalue of the Gram matrix.
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the kernels, with one score each."""
        return dict.fromkeys(self.kernels, ())

    def run(self, seed: int) -> Findings:
        """Draw once, and decompose with each kernel."""
        X, Y = self._drawn(torch_generator(seed, self.kind, "training"))
        fresh = self._drawn(torch_generator(seed, self.kind, "fresh"))
        scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in METRICS}
        rows = []
        for done, (name, kernel) in enumerate(self.kernels.items()):
            spec = KernelEDMDSpec(kernel=kernel, functions=min(self.functions, self.samples))
            made = spec.decompose(X, Y, torch.ones_like(X[:, :1]), torch_generator(seed, self.kind, name))
            values = made.eigenpairs.values[: self.leading]
            vectors = made.eigenpairs.vectors[:, : self.leading]
            phi, ahead = (
                (kernel.gram(points, made.landmarks, made.chosen) @ made.functions).to(vectors.dtype)
                @ vectors
                for points in fresh
            )
            residual = (ahead - values * phi).norm(dim=0) / phi.norm(dim=0)
            dual = made.eigenpairs.residuals[: self.leading]
            error = (values[:, None] - self._exact()).abs().amin(dim=1)
            least = float(torch.linalg.eigvalsh(made.square)[0])
            means = (float(residual.mean()), float(dual.mean()), float(error.max()), least)
            for metric, value in zip(METRICS, means, strict=True):
                scores[metric][name] = {ALL: value}
            columns = {"re": values.real, "im": values.imag, "residual": residual, "dual_residual": dual}
            rows.append(pd.DataFrame({key: c.numpy() for key, c in columns.items()}).assign(kernel=name))
            report("kernel", done + 1, len(self.kernels))
        return Findings(scores, {"pairs": pd.concat(rows, ignore_index=True)})

    def _drawn(
        self, generator: torch.Generator
    ) -> tuple[Float[Tensor, "sample 4"], Float[Tensor, "sample 4"]]:
        angle = 2 * math.pi * torch.rand(self.samples, 2, generator=generator, dtype=torch.float64)
        turned = angle + torch.tensor(self.angles, dtype=torch.float64)
        X, Y = (torch.cat([item.cos(), item.sin()], dim=1)[:, [0, 2, 1, 3]] for item in (angle, turned))
        return X, Y

    def _exact(self) -> Tensor:
        k = torch.arange(-HARMONICS, HARMONICS + 1, dtype=torch.float64)
        turn = (k[:, None] * self.angles[0] + k * self.angles[1]).flatten()
        return torch.polar(torch.ones_like(turn), turn)
