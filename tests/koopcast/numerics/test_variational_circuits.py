"""Circuits against their matrices, gradients against one another, and a training that must succeed."""

import math

import pytest
import torch

from koopcast.numerics.variational_circuits import (
    Circuit,
    CircuitTraining,
    counted,
    gradients,
    train_circuit,
)

TWO = Circuit(2, [(0, 1)])
X = torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128)
Y = torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128)
Z = torch.diag(torch.tensor([1, -1], dtype=torch.complex128))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def states(points: int, qubits: int = 2, seed: int = 0) -> torch.Tensor:
    parts = torch.randn(2, points, 2**qubits, generator=generator(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(torch.complex(*parts), dim=1)


def angles(runs: int, layers: int, qubits: int = 2, seed: int = 1) -> torch.Tensor:
    return 6 * torch.rand(runs, layers, qubits, 2, generator=generator(seed), dtype=torch.float64)


def plan(**options: object) -> CircuitTraining:
    return CircuitTraining(
        **{"layers": 3, "steps": 5, "learning_rate": 0.1, "runs": 2, "gradient": "exact"} | options
    )


def test_layers_are_products_of_matrix_exponentials() -> None:
    circuit = Circuit(3, [(0, 1), (1, 2)])
    own, phi = angles(2, 2, 3), states(4, 3)

    def on(matrix: torch.Tensor, qubit: int) -> torch.Tensor:
        parts = [torch.eye(2, dtype=torch.complex128)] * 3
        parts[qubit] = matrix
        return torch.kron(torch.kron(parts[0], parts[1]), parts[2])

    for run in range(2):
        W = torch.eye(8, dtype=torch.complex128)
        for layer in range(2):
            if layer:
                for i, j in circuit.pairs:
                    # CZ = exp(iπ (1 - Z_i)(1 - Z_j) / 4)
                    one = torch.eye(8, dtype=torch.complex128)
                    W = torch.matrix_exp(1j * math.pi / 4 * (one - on(Z, i)) @ (one - on(Z, j))) @ W
            for qubit in range(3):
                theta, turn = own[run, layer, qubit]
                W = torch.matrix_exp(-0.5j * theta * on(Y, qubit)) @ W
                W = torch.matrix_exp(-0.5j * turn * on(Z, qubit)) @ W
        M = W.mH @ on(Z, 0) @ on(Z, 1) @ on(Z, 2) @ W
        expected = torch.einsum("pi,ij,pj->p", phi.conj(), M, phi).real
        torch.testing.assert_close(circuit.expectations(phi, own)[run], expected)


def test_a_turn_by_theta_has_the_cosine_as_its_expectation() -> None:
    zero = torch.tensor([[1.0, 0.0]], dtype=torch.complex128)
    for theta in (0.0, 0.4, math.pi):
        own = torch.tensor([theta, 0.3], dtype=torch.float64).reshape(1, 1, 1, 2)
        assert float(Circuit(1, []).expectations(zero, own)) == pytest.approx(math.cos(theta))


def test_the_parameter_shift_is_the_exact_gradient() -> None:
    phi, labels = states(10), torch.tensor([1.0, -1.0] * 5, dtype=torch.float64)
    at = angles(2, 3), torch.tensor([[0.1], [-0.2]], dtype=torch.float64)
    exact = gradients(TWO, phi, labels, at, plan(), generator())
    shifted = gradients(TWO, phi, labels, at, plan(gradient="parameter_shift"), generator())
    for one, other in zip(exact, shifted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_simultaneous_perturbation_is_the_gradient_on_average() -> None:
    phi, labels = states(6), torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)
    one = angles(1, 1), torch.zeros(1, 1, dtype=torch.float64)
    exact = gradients(TWO, phi, labels, one, plan(), generator())[0]
    many = tuple(part.expand(4000, *part.shape[1:]).clone() for part in one)
    found = gradients(TWO, phi, labels, many, plan(gradient="spsa"), generator())[0]
    # Differences over ±0.1 are off by a few per cent; the mean of 4000 has 6 standard errors of room.
    room = 6 * found.std(dim=0) / 4000**0.5 + 0.1 * exact.abs().max()
    assert bool(((found.mean(dim=0) - exact[0]).abs() < room).all())


def test_counts_have_the_mean_and_the_variance_of_measurements() -> None:
    f = torch.full((20000,), 0.6, dtype=torch.float64)
    found = counted(f, 100, generator())
    assert counted(f, None, None) is f
    assert abs(float(found.mean()) - 0.6) < 6 * (0.64 / 100 / 20000) ** 0.5
    # The variance of ±1 with mean f is 1 - f².
    assert float(found.var()) == pytest.approx(0.64 / 100, rel=0.05)


@pytest.mark.parametrize("gradient", ["exact", "parameter_shift", "spsa"])
def test_labels_of_another_setting_of_the_same_circuit_are_learned(gradient: str) -> None:
    phi = states(80, seed=5)
    teacher = TWO.expectations(phi, angles(1, 2, seed=7))[0]
    phi, labels = phi[teacher.abs() > 0.2], teacher[teacher.abs() > 0.2].sign()
    steps = 400 if gradient == "spsa" else 120
    training = plan(layers=2, steps=steps, runs=4, gradient=gradient, shots=1000)
    found = train_circuit(TWO, phi, labels, training, generator(3))
    assert float((found.decide(phi).sign() == labels).double().mean()) >= 0.95
    again = train_circuit(TWO, phi, labels, training, generator(3))
    assert torch.equal(found.angles, again.angles)
