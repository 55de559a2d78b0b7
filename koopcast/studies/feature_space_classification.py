"""Classification of data that a quantum circuit labelled: by its own kernel, by circuits, by Gaussians."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import Underresolved
from koopcast.kernels.base import squared_distance
from koopcast.kernels.quantum_zz import QuantumZZSpec, ScalingSpec
from koopcast.numerics.kernel_ridge import kernel_ridge
from koopcast.numerics.random_features import RIDGES
from koopcast.numerics.support_vectors import support_vectors
from koopcast.numerics.variational_circuits import Circuit, CircuitTraining, Gradient, train_circuit
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.spec import Spec
from koopcast.studies.base import ALL, Findings, StudySpec

QUANTUM, COUNTED, GAUSSIAN = "quantum", "counted", "gaussian"
RIDGE, RIDGE_COUNTED = "ridge", "ridge_counted"
VARIATIONAL, VARIATIONAL_COUNTED = "variational", "variational_counted"
ATTEMPTS = 1000
"""Batches of points that are drawn before the gap counts as too wide."""


class VariationalSpec(Spec):
    """A classifier that is itself a circuit: layers of rotations after Φ, and the sign of a parity."""

    layers: PositiveInt = Field(5, le=32)
    """Rotations of every qubit about two axes, with controlled phases between the layers."""
    steps: PositiveInt = 150
    """Of Adam."""
    learning_rate: PositiveFloat = 0.1
    """Of Adam, in radians."""
    restarts: PositiveInt = 4
    """First angles that are tried; the smallest loss is kept."""
    gradient: Gradient = "exact"
    """Without counts: `exact`, by backpropagation; `parameter_shift` from pairs of shifted circuits, which
    gives the same; `spsa` along random directions. With counts, for which there is no backpropagation,
    `exact` means `parameter_shift`."""

    def training(self, shots: int | None) -> CircuitTraining:
        """Return how a circuit that is measured so often is trained."""
        gradient = "parameter_shift" if shots is not None and self.gradient == "exact" else self.gradient
        return CircuitTraining(self.layers, self.steps, self.learning_rate, self.restarts, gradient, shots)


class FeatureSpaceClassificationSpec(StudySpec):
    """Labels by the sign of <Φ(x)| V* Z..Z V |Φ(x)> for a random unitary V, points near 0 left out.

    The kernel of Φ serves a support vector machine (`quantum`) and kernel ridge regression on the labels
    (`ridge`), and Φ itself a trained circuit (`variational`), each also with counts instead of exact values
    (`counted`). The data are made for Φ: what it gains here says nothing of ordinary data. The Gaussian
    kernel (`gaussian`, a support vector machine) has its best width of a grid, chosen on the test set itself.
    """

    kind: Literal["feature_space_classification"] = "feature_space_classification"
    kernel: QuantumZZSpec = QuantumZZSpec(scaling=ScalingSpec(type="none"))
    """The circuit Φ, on angles as they are."""
    shots: PositiveInt = 1024
    """Measurements per entry of the kernel that counts, and per value of the circuit that does."""
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
    ridge: NonNegativeFloat | Literal["auto"] = "auto"
    """Penalty of the kernel ridge regressions; `auto`: the one of 10⁻¹⁰, ..., 1 that finds the labels of
    training points best when each is left out in turn. Counts need one above their noise."""
    variational: VariationalSpec = VariationalSpec()
    """The circuit that is trained."""
    widths: PositiveInt = 15
    """Gaussian kernels exp(-g ‖x - y‖²) that are tried, g from 0.01 to 100."""

    reference = (
        "Havlíček et al. 2019, Supervised learning with quantum-enhanced feature spaces, Nature 567; "
        "parameter shift: Mitarai et al. 2018, Schuld et al. 2019. The loss is logistic and steps are those "
        "of Adam, with `spsa` too"
    )

    @model_validator(mode="after")
    def _kernel_is_exact(self) -> "FeatureSpaceClassificationSpec":
        if self.kernel.shots is not None or self.kernel.scaling.type != "none":
            raise ValueError(
                "kernel: give no shots (an option of the study) and scaling {type: none}: angles are "
                "drawn as they are"
            )
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return mean and least accuracy on the test sets, and of kernels the least eigenvalue of the Gram
        matrices.
        """
        return dict.fromkeys(("accuracy", "worst", "least_eigenvalue"), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the classifiers."""
        kernels = (QUANTUM, COUNTED, RIDGE, RIDGE_COUNTED, GAUSSIAN)
        return dict.fromkeys((*kernels, VARIATIONAL, VARIATIONAL_COUNTED), ())

    def run(self, seed: int) -> Findings:
        """Draw data set after data set, and train each classifier."""
        rows: list[dict[str, int | float | str]] = []
        for repetition in range(self.repetitions):
            data = self._drawn(torch_generator(seed, self.kind, repetition))
            counted = self.kernel.model_copy(update={"shots": self.shots, "seed": seed + repetition})
            rows += self._quantum(repetition, data, self.kernel, (QUANTUM, RIDGE))
            rows += self._quantum(repetition, data, counted, (COUNTED, RIDGE_COUNTED))
            rows.append(max(self._gaussians(repetition, data), key=lambda row: float(row["accuracy"])))
            for name, shots in ((VARIATIONAL, None), (VARIATIONAL_COUNTED, self.shots)):
                accuracy = self._trained(data, shots, torch_generator(seed, self.kind, name, repetition))
                rows.append({"data_set": repetition, "classifier": name, "accuracy": accuracy})
            report("data set", repetition + 1, self.repetitions)
        table = pd.DataFrame(rows)
        groups = table.groupby("classifier", sort=False)
        columns = {
            "accuracy": groups["accuracy"].mean(),
            "worst": groups["accuracy"].min(),
            "least_eigenvalue": groups["least_eigenvalue"].min().dropna(),
        }
        scores = {
            metric: {str(name): {ALL: float(value)} for name, value in column.items()}
            for metric, column in columns.items()
        }
        return Findings(scores, {"data_sets": table})

    def _quantum(
        self, repetition: int, data: "_Labelled", kernel: QuantumZZSpec, names: tuple[str, str]
    ) -> Iterator[dict[str, int | float | str]]:
        """Yield what the support vector machine and the ridge regression of one kernel reach."""
        tensors = kernel.prepare(data.train)
        square, across = kernel.square(data.train, tensors), kernel.gram(data.test, data.train, tensors)
        yield _row(repetition, names[0], data.accuracy(square, across, self.cost), square)
        labels = torch.from_numpy(data.train_labels)[:, None]
        found = kernel_ridge(square, labels, RIDGES if self.ridge == "auto" else (self.ridge,))
        right = data.share_of((across @ found.coefficients)[:, 0].numpy())
        yield _row(repetition, names[1], right, square)

    def _trained(self, data: "_Labelled", shots: int | None, generator: torch.Generator) -> float:
        """Return the accuracy of a trained circuit."""
        circuit = Circuit(self.kernel.qubits, self.kernel.entangled())
        states, labels = self.kernel.states(data.train), torch.from_numpy(data.train_labels)
        found = train_circuit(circuit, states, labels, self.variational.training(shots), generator)
        return data.share_of(found.decide(self.kernel.states(data.test), shots, generator).numpy())

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
        parity = Circuit(self.kernel.qubits, []).parity()
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
        return self.share_of(machine.decide(across.numpy()))

    def share_of(self, decisions: Float[np.ndarray, " test"]) -> float:
        """Return the share of test points that have the sign of their decision as label."""
        return float((np.sign(decisions) == self.test_labels).mean())


def _row(
    repetition: int, name: str, accuracy: float, square: Float[Tensor, "train train"]
) -> dict[str, int | float | str]:
    least = float(torch.linalg.eigvalsh(square)[0])
    return {"data_set": repetition, "classifier": name, "accuracy": accuracy, "least_eigenvalue": least}
