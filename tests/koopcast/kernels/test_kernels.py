"""Every kernel: values by hand, symmetry, definiteness; the quantum one against its circuit."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy.linalg import expm

from koopcast.errors import DataError
from koopcast.kernels import AnyKernel, KernelSpec
from koopcast.kernels.quantum_zz import QuantumZZSpec

RNG = np.random.default_rng(3)
POINTS = torch.from_numpy(RNG.normal(size=(30, 2)))
EXACT = ({"kind": "gaussian"}, {"kind": "laplacian"}, {"kind": "lorentzian"}, {"kind": "linear"},
         {"kind": "matern", "degree": 2}, {"kind": "polynomial"}, {"kind": "quantum_zz"},
         {"kind": "arc_cosine"}, {"kind": "arc_cosine", "order": 0})  # fmt: skip
NO_SCALING = {"type": "none"}


def _kernel(options: object) -> KernelSpec:
    return TypeAdapter(AnyKernel).validate_python(options)


@pytest.mark.parametrize("options", EXACT)
def test_gram_matrices_are_symmetric_semidefinite_and_consistent(options: object) -> None:
    kernel = _kernel(options)
    tensors = kernel.prepare(POINTS)
    square = kernel.square(POINTS, tensors)
    assert torch.allclose(square, square.mT, atol=1e-12)
    assert float(torch.linalg.eigvalsh(square)[0]) > -1e-10
    assert torch.allclose(kernel.gram(POINTS[:4], POINTS, tensors), square[:4], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": "gaussian"}, np.exp(-0.25)),
        ({"kind": "laplacian"}, np.exp(-0.5)),
        ({"kind": "lorentzian"}, 0.8),
        ({"kind": "matern", "degree": 0}, np.exp(-0.5)),
        ({"kind": "matern", "degree": 1}, (1 + 0.75**0.5) * np.exp(-(0.75**0.5))),
        ({"kind": "matern", "degree": 2}, (1 + 1.25**0.5 + 1.25 / 3) * np.exp(-(1.25**0.5))),
        ({"kind": "gaussian", "width": 2.0}, np.exp(-0.0625)),
    ],
)
def test_radial_kernels_have_their_values(options: object, expected: float) -> None:
    # Four points at distance 2 of their mean set c = 2; x and y are 1 apart, so s = 1/2.
    training = torch.tensor([[2.0, 0], [-2, 0], [0, 2], [0, -2]], dtype=torch.float64)
    kernel = _kernel(options)
    x, y = torch.tensor([[0.3, 0.4]]).double(), torch.tensor([[0.9, 1.2]]).double()
    assert float(kernel.exact(x, y, kernel.prepare(training))) == pytest.approx(expected)


def test_inner_product_kernels_have_their_values() -> None:
    training = torch.tensor([[2.0, 0], [0, -2]], dtype=torch.float64)
    x, y = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[3.0, -1.0]]).double()
    assert float(_kernel("linear").exact(x, y, {})) == 1.0
    kernel = _kernel({"kind": "polynomial", "degree": 3})
    assert float(kernel.exact(x, y, kernel.prepare(training))) == pytest.approx(1.25**3)


@pytest.mark.parametrize("order", [0, 1])
def test_arc_cosine_kernels_are_expectations_over_random_neurons(order: int) -> None:
    training = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    kernel = _kernel({"kind": "arc_cosine", "order": order})
    x, y = torch.tensor([[0.5, -1.0]]).double(), torch.tensor([[-0.3, 0.4]]).double()
    w = RNG.normal(size=(400_000, 3))
    h = [np.maximum(w @ np.append(u.numpy(), 1.0), 0) ** order for u in (x, y)]
    h = [np.where(w @ np.append(u.numpy(), 1.0) > 0, part, 0) for u, part in zip((x, y), h, strict=True)]
    product = 2 * h[0] * h[1]
    error = product.std() / len(w) ** 0.5
    assert abs(float(kernel.exact(x, y, kernel.prepare(training))) - product.mean()) < 6 * error


def _circuit(angles: np.ndarray, pairs: list[tuple[int, int]], depth: int) -> np.ndarray:
    """Return the state by Kronecker products of gates and a matrix exponential."""
    m = len(angles)
    Z, H = np.diag([1.0, -1.0]), np.array([[1, 1], [1, -1]]) / 2**0.5

    def product(gates: dict[int, np.ndarray]) -> np.ndarray:
        result = np.eye(1)
        for qubit in range(m):
            result = np.kron(result, gates.get(qubit, np.eye(2)))
        return result

    phase = sum(angles[i] * product({i: Z}) for i in range(m))
    phase = phase + sum(
        ((np.pi - angles[i]) * (np.pi - angles[j]) * product({i: Z, j: Z}) for i, j in pairs), np.zeros(2**m)
    )
    state = np.zeros(2**m, dtype=complex)
    state[0] = 1
    for _ in range(depth):
        state = expm(1j * phase) @ product(dict.fromkeys(range(m), H)) @ state
    return state


@pytest.mark.parametrize(
    ("qubits", "entanglement", "pairs"),
    [(1, "full", []), (2, "full", [(0, 1)]), (3, "full", [(0, 1), (0, 2), (1, 2)]),
     (3, "linear", [(0, 1), (1, 2)]), (4, "circular", [(0, 1), (1, 2), (2, 3), (0, 3)])],
)  # fmt: skip
@pytest.mark.parametrize("depth", [1, 3])
def test_quantum_states_are_those_of_the_circuit(
    qubits: int, entanglement: str, pairs: list[tuple[int, int]], depth: int
) -> None:
    spec = QuantumZZSpec(qubits=qubits, entanglement=entanglement, depth=depth, scaling=NO_SCALING)
    angles = RNG.uniform(0, 2 * np.pi, size=(5, qubits))
    states = spec.states(torch.from_numpy(angles)).numpy()
    exact = np.stack([_circuit(row, pairs, depth) for row in angles])
    assert np.allclose(states, exact, atol=1e-12)
    points = torch.from_numpy(angles)
    kernel = spec.exact(points, points, spec.prepare(points)).numpy()
    assert np.allclose(kernel, np.abs(exact.conj() @ exact.T) ** 2, atol=1e-12)


def test_one_qubit_and_one_layer_is_a_cosine() -> None:
    spec = QuantumZZSpec(qubits=1, depth=1, scaling=NO_SCALING)
    x = torch.linspace(0, 6, 9, dtype=torch.float64)[:, None]
    assert torch.allclose(spec.exact(x, x, spec.prepare(x)), (x - x.mT).cos() ** 2)


def test_counts_scatter_as_a_binomial_and_stay_semidefinite() -> None:
    exact, counted = (QuantumZZSpec(shots=shots) for shots in (None, 400))
    tensors = exact.prepare(POINTS)
    p = exact.exact(POINTS[:10], POINTS[10:], tensors)
    scatter = (counted.gram(POINTS[:10], POINTS[10:], tensors) - p) / (p * (1 - p) / 400).sqrt()
    # 200 entries: mean within 6/√200, variance within 6 √(2/200).
    assert abs(float(scatter.mean())) < 0.43
    assert abs(float(scatter.square().mean()) - 1) < 0.6
    square = counted.square(POINTS, tensors)
    assert torch.allclose(square, square.mT)
    assert float(torch.linalg.eigvalsh(square)[0]) > -1e-12
    assert torch.equal(square, counted.square(POINTS, tensors))
    other = counted.model_copy(update={"seed": 1})
    assert not torch.equal(square, other.square(POINTS, tensors))


def test_noise_draws_values_to_those_of_the_mixed_state() -> None:
    clean, noisy = (QuantumZZSpec(noise=noise) for noise in (0.0, 0.3))
    tensors = clean.prepare(POINTS)
    expected = 0.49 * clean.square(POINTS, tensors) + 0.51 / 4
    assert torch.allclose(noisy.square(POINTS, tensors), expected)


def test_scaling_fills_the_range_and_reduction_takes_leading_directions() -> None:
    wide = torch.from_numpy(RNG.normal(size=(40, 3)) * [1.0, 5.0, 0.1])
    for options in (
        {"reduce": "select"},
        {"reduce": "pca"},
        {"reduce": "select", "scaling": {"type": "pca"}},
    ):
        tensors = QuantumZZSpec(**options).prepare(wide)
        angles = wide @ tensors["projection"] + tensors["shift"]
        assert torch.allclose(angles.amin(dim=0), torch.zeros(2).double(), atol=1e-9)
        assert torch.allclose(angles.amax(dim=0), torch.full((2,), 2 * np.pi).double())
    leading = QuantumZZSpec(qubits=1, reduce="pca").prepare(wide)["projection"][:, 0]
    assert int(leading.abs().argmax()) == 1
    first = QuantumZZSpec(qubits=1, reduce="select").prepare(wide)["projection"][:, 0]
    assert first[1:].tolist() == [0, 0]


def test_dimensions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="3 coordinates are above 2; set reduce to pca or select"):
        QuantumZZSpec().prepare(torch.ones(4, 3).double())
    with pytest.raises(DataError, match="4 are above 2, the coordinates; lower qubits"):
        QuantumZZSpec(qubits=4).prepare(POINTS)
    with pytest.raises(ValidationError, match="must ascend"):
        QuantumZZSpec(scaling={"range": [1, 0]})
    assert QuantumZZSpec(qubits=2, entanglement="circular").entangled() == list(pairwise(range(2)))
