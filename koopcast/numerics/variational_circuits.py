"""Layers of one-qubit rotations and controlled phases, simulated: a classifier that reads a parity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Complex, Float
from torch import Tensor

Gradient: TypeAlias = Literal["exact", "parameter_shift", "spsa"]
SHARPNESS = 10.0
"""s of the loss log(1 + e^{-s y (f + b)}): a margin of 0.3 costs 0.05."""


@dataclass(frozen=True)
class Circuit:
    """Layers W of RY(θ) and RZ(φ) on every qubit with CZ on pairs of qubits between them, and the parity.

    RY(θ) = e^{-iθY/2}, RZ(φ) = e^{-iφZ/2}. Angles have the shape `(run, layer, qubit, 2)`, θ first; runs are
    independent settings of the same circuit. The first qubit leads in the order of bit strings.
    """

    qubits: int
    pairs: Sequence[tuple[int, int]]

    def parity(self) -> Float[Tensor, " amplitude"]:
        """Return the eigenvalues of Z..Z."""
        return self._signs().prod(dim=1)

    def expectations(
        self, states: Complex[Tensor, "point amplitude"], angles: Float[Tensor, "run layer qubit 2"]
    ) -> Float[Tensor, "run point"]:
        """Return f = <Φ| W* Z..Z W |Φ>, between -1 and 1."""
        state = states.expand(len(angles), *states.shape)
        phases = self._controlled_phases()
        for layer in range(angles.shape[1]):
            if layer > 0:
                state = state * phases
            for qubit in range(self.qubits):
                state = _rotated(state, angles[:, layer, qubit], qubit)
        return state.abs().square() @ self.parity()

    def _signs(self) -> Float[Tensor, "amplitude qubit"]:
        shifts = torch.arange(self.qubits - 1, -1, -1)
        return 1.0 - 2.0 * ((torch.arange(2**self.qubits)[:, None] >> shifts) & 1).double()

    def _controlled_phases(self) -> Float[Tensor, " amplitude"]:
        """Return -1 to the number of pairs whose bits are both 1."""
        is_one = self._signs() < 0
        both = sum((is_one[:, i] & is_one[:, j]).double() for i, j in self.pairs)
        return 1.0 - 2.0 * (torch.as_tensor(both, dtype=torch.float64) % 2).expand(2**self.qubits)


def _rotated(
    state: Complex[Tensor, "run point amplitude"], angles: Float[Tensor, "run 2"], qubit: int
) -> Complex[Tensor, "run point amplitude"]:
    """Return RZ(φ) RY(θ) on one qubit."""
    theta, phi = (angles / 2).T[..., None, None, None]
    zero, one = state.reshape(*state.shape[:2], 2**qubit, 2, -1).unbind(dim=3)
    turn = torch.polar(torch.ones_like(phi), phi)
    low = turn.conj() * (theta.cos() * zero - theta.sin() * one)
    high = turn * (theta.sin() * zero + theta.cos() * one)
    return torch.stack([low, high], dim=3).reshape(state.shape)


@dataclass(frozen=True)
class CircuitTraining:
    """How the angles are found."""

    layers: int
    """Layers of rotations."""
    steps: int
    learning_rate: float
    runs: int
    """First angles that are tried; the one with the smallest loss at the end is kept."""
    gradient: Gradient
    """`exact`: by backpropagation through the simulation; `parameter_shift`: ½ (f(θ + π/2) - f(θ - π/2)) of
    every angle, which circuits can measure; `spsa`: along one random direction a step."""
    shots: int | None = None
    """Measurements behind every value of f; None: exact."""


@dataclass(frozen=True)
class CircuitClassifier:
    """The label of x is the sign of f(x) + b."""

    circuit: Circuit
    angles: Float[Tensor, "1 layer qubit 2"]
    bias: Float[Tensor, ""]
    loss: float
    """At the end of training."""

    def decide(
        self,
        states: Complex[Tensor, "point amplitude"],
        shots: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " point"]:
        """Return f + b, with counts of so many shots in place of f."""
        f = self.circuit.expectations(states, self.angles)[0]
        return counted(f, shots, generator) + self.bias


def train_circuit(
    circuit: Circuit,
    states: Complex[Tensor, "point amplitude"],
    labels: Float[Tensor, " point"],
    training: CircuitTraining,
    generator: torch.Generator,
) -> CircuitClassifier:
    """Return the classifier whose angles and bias make the mean of log(1 + e^{-s y (f + b)}) small, by Adam.

    Args:
        circuit: Of the qubits of the states.
        states: |Φ(x)> of the training points.
        labels: 1 or -1.
        training: How.
        generator: Of first angles, counts and directions.
    """
    shape = (training.runs, training.layers, circuit.qubits, 2)
    angles = 2 * math.pi * torch.rand(shape, generator=generator, dtype=torch.float64)
    bias = torch.zeros(training.runs, 1, dtype=torch.float64)
    optimizer = torch.optim.Adam([angles, bias], lr=training.learning_rate)
    for _ in range(training.steps):
        angles.grad, bias.grad = gradients(circuit, states, labels, (angles, bias), training, generator)
        optimizer.step()
    f = counted(circuit.expectations(states, angles), training.shots, generator)
    losses = _loss(f + bias, labels)
    best = int(losses.argmin())
    return CircuitClassifier(circuit, angles[best : best + 1], bias[best, 0], float(losses[best]))


def gradients(
    circuit: Circuit,
    states: Complex[Tensor, "point amplitude"],
    labels: Float[Tensor, " point"],
    at: tuple[Float[Tensor, "run layer qubit 2"], Float[Tensor, "run 1"]],
    training: CircuitTraining,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "run layer qubit 2"], Float[Tensor, "run 1"]]:
    """Return the gradients of the loss of every run by angles and by bias, as `training.gradient` says."""
    angles, bias = at
    if training.gradient == "exact":
        with torch.enable_grad():
            leaves = [part.detach().clone().requires_grad_() for part in at]
            loss = _loss(circuit.expectations(states, leaves[0]) + leaves[1], labels).sum()
            found = torch.autograd.grad(loss, leaves)
        return found[0], found[1]

    def measured(runs: Tensor) -> Tensor:
        return counted(circuit.expectations(states, runs), training.shots, generator)

    # Of the loss by f + b, for each point.
    slope = -SHARPNESS * labels * torch.sigmoid(-SHARPNESS * labels * (measured(angles) + bias)) / len(labels)
    by_bias = slope.sum(dim=1, keepdim=True)
    if training.gradient == "spsa":
        step = 0.1
        towards = torch.randint(0, 2, angles.shape, generator=generator).double() * 2 - 1
        ahead, behind = (measured(angles + sign * step * towards) for sign in (1, -1))
        change = (_loss(ahead + bias, labels) - _loss(behind + bias, labels)) / (2 * step)
        return change[:, None, None, None] * towards, by_bias
    count = angles[0].numel()
    shift = torch.eye(count, dtype=torch.float64).reshape(count, 1, *angles.shape[1:]) * (math.pi / 2)
    ahead, behind = (measured((angles + sign * shift).flatten(0, 1)) for sign in (1, -1))
    derivative = ((ahead - behind) / 2).unflatten(0, (count, len(angles)))
    return (derivative * slope).sum(dim=2).mT.reshape(angles.shape), by_bias


def counted(
    f: Float[Tensor, "*batch"], shots: int | None, generator: torch.Generator | None
) -> Float[Tensor, "*batch"]:
    """Return the mean of so many measurements ±1 of expectation f; f itself where shots are None."""
    if shots is None:
        return f
    ones = torch.binomial(torch.full_like(f, float(shots)), ((1 + f) / 2).clamp(0, 1), generator=generator)
    return 2 * ones / shots - 1


def _loss(decision: Float[Tensor, "run point"], labels: Float[Tensor, " point"]) -> Float[Tensor, " run"]:
    return torch.nn.functional.softplus(-SHARPNESS * labels * decision).mean(dim=1)
