"""Classification of data that a quantum circuit labelled: its own kernel beside Gaussian ones."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import Underresolved
from koopcast.kernels.base import squared_distance
from koopcast.kernels.quantum_zz import QuantumZZSpec, ScalingSpec
from koopcast.numerics.support_vectors import support_vectors
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec

QUANTUM, COUNTED, GAUSSIAN = "quantum", "counted", "gaussian"
ATTEMPTS = 1000
"""Batches of points that are drawn before the gap counts as too wide."""


class FeatureSpaceClassificationSpec(StudySpec):
    """Labels by the sign of <Φ(x)| V* Z..Z V |Φ(x)> for a random unitary V, points near 0 left out.

    The data are made for the kernel of Φ: what it gains here says nothing of ordinary data. The Gaussian
    kernel has its best width of a grid, chosen on the test set itself.
    """

    kind: Literal["feature_space_classification"] = "feature_space_classification"
    kernel: QuantumZZSpec = QuantumZZSpec(scaling=ScalingSpec(type="none"))
    """The circuit Φ, on angles as they are."""
    shots: PositiveInt = 1024
    """Measurements per entry of the kernel that counts."""
    gap: float = Field(0.3, ge=0, lt=1)
    """Least absolute value of a point that is kept."""
    train: PositiveInt = 20
    """Training points of each label."""
    test: PositiveInt = 20
    """Test points of each label."""
    repetitions: PositiveInt = 10
    """Data sets, each with a unitary of its own."""
    cost: PositiveFloat = 10.0
    """Upper limit of the multipliers of the support vector machines."""
    widths: PositiveInt = 15
    """Gaussian kernels exp(-g ‖x - y‖²) that are tried, g from 0.01 to 100."""

    reference = "Havlíček et al. 2019, Supervised learning with quantum-enhanced feature spaces, Nature 567"

    @model_validator(mode="after")
    def _kernel_is_exact(self) -> "FeatureSpaceClassificationSpec":
        if self.kernel.shots is not None or self.kernel.scaling.type != "none":
            raise ValueError(
                "kernel: give no shots (an option of the study) and scaling {type: none}: angles are "
                "drawn as they are"
            )
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return mean and least accuracy on the test sets, and the least eigenvalue of the Gram matrices."""
        return dict.fromkeys(("accuracy", "worst", "least_eigenvalue"), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the kernels."""
        return dict.fromkeys((QUANTUM, COUNTED, GAUSSIAN), ())

    def run(self, seed: int) -> Findings:
        """Draw data set after data set, and train with each kernel."""
        rows: list[dict[str, int | float | str]] = []
        for repetition in range(self.repetitions):
            data = self._drawn(torch_generator(seed, self.kind, repetition))
            counted = self.kernel.model_copy(update={"shots": self.shots, "seed": seed + repetition})
            for name, kernel in ((QUANTUM, self.kernel), (COUNTED, counted)):
                tensors = kernel.prepare(data.train)
                square = kernel.square(data.train, tensors)
                accuracy = data.accuracy(square, kernel.gram(data.test, data.train, tensors), self.cost)
                rows.append(_row(repetition, name, accuracy, square))
            rows.append(max(self._gaussians(repetition, data), key=lambda row: float(row["accuracy"])))
            report("data set", repetition + 1, self.repetitions)
        table = pd.DataFrame(rows)
        by_kernel = table.groupby("kernel", sort=False)
        columns = {
            "accuracy": by_kernel["accuracy"].mean(),
            "worst": by_kernel["accuracy"].min(),
            "least_eigenvalue": by_kernel["least_eigenvalue"].min(),
        }
        scores = {
            metric: {str(name): {ALL: float(value)} for name, value in column.items()}
            for metric, column in columns.items()
        }
        return Findings(scores, {"data_sets": table})

    def _gaussians(self, repetition: int, data: "_Labelled") -> Iterator[dict[str, int | float | str]]:
        apart, across = (squared_distance(points, data.train) for points in (data.train, data.test))
        for g in np.logspace(-2, 2, self.widths):
            square = torch.exp(-g * apart)
            accuracy = data.accuracy(square, torch.exp(-g * across), self.cost)
            yield _row(repetition, GAUSSIAN, accuracy, square)

    def _drawn(self, generator: torch.Generator) -> "_Labelled":
        """Draw a unitary and points of both labels.

        Raises:
            Underresolved: The gap leaves too few points.
        """
        size = 2**self.kernel.qubits
        noise = torch.randn(2, size, size, generator=generator, dtype=torch.float64)
        Q, R = torch.linalg.qr(torch.complex(noise[0], noise[1]))
        V = Q * (R.diagonal() / R.diagonal().abs())  # of Haar measure
        parity = self._parity()
        each = self.train + self.test
        kept: dict[int, list[Tensor]] = {1: [], -1: []}
        for _ in range(ATTEMPTS):
            uniform = torch.rand(4 * each, self.kernel.qubits, generator=generator, dtype=torch.float64)
            points = 2 * math.pi * uniform
            f = ((self.kernel.states(points) @ V.mT).abs().square() * parity).sum(dim=1)
            for label, parts in kept.items():
                parts.extend(points[label * f >= max(self.gap, 1e-12)].split(1))
            if min(len(parts) for parts in kept.values()) >= each:
                break
        else:
            raise Underresolved(f"a gap of {self.gap:g} leaves too few points", "lower `gap`")
        both = {label: torch.cat(parts[:each]) for label, parts in kept.items()}
        return _Labelled(
            torch.cat([points[: self.train] for points in both.values()]),
            torch.cat([points[self.train :] for points in both.values()]),
            np.repeat([1.0, -1.0], self.train),
            np.repeat([1.0, -1.0], self.test),
        )

    def _parity(self) -> Float[Tensor, " amplitude"]:
        """Return the eigenvalues of Z..Z: -1 to the number of ones in the bit string."""
        ones = [bin(index).count("1") for index in range(2**self.kernel.qubits)]
        return torch.tensor([(-1.0) ** count for count in ones], dtype=torch.float64)


@dataclass(frozen=True)
class _Labelled:
    """Points and their labels."""

    train: Float[Tensor, "train qubit"]
    test: Float[Tensor, "test qubit"]
    train_labels: Float[np.ndarray, " train"]
    test_labels: Float[np.ndarray, " test"]

    def accuracy(
        self, square: Float[Tensor, "train train"], across: Float[Tensor, "test train"], cost: float
    ) -> float:
        """Return the share of test points that a machine trained with a Gram matrix labels right."""
        machine = support_vectors(square.numpy(), self.train_labels, cost)
        return float((np.sign(machine.decide(across.numpy())) == self.test_labels).mean())


def _row(
    repetition: int, name: str, accuracy: float, square: Float[Tensor, "train train"]
) -> dict[str, int | float | str]:
    least = float(torch.linalg.eigvalsh(square)[0])
    return {"data_set": repetition, "kernel": name, "accuracy": accuracy, "least_eigenvalue": least}
