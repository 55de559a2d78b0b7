"""Kernel ridge regression: reductions, closed forms, choices, storage, a kernel that counts."""

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.fitting import fit
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.mapping import MappingSpec, Signature
from koopcast.numerics.kernel_ridge import kernel_ridge
from koopcast.operators.fitted import Examples
from koopcast.operators.kernel_ridge import KernelNetwork, KernelRidgeSpec
from koopcast.training import TrainingTask
from koopcast.training_spec import TrainingSpec

LINE = Signature(
    (Axis("x", 2, periodic=True, length=1.0),), ("a",), ("u",), 1, 1, TimeAxis(1, ""), ahead=False
)
QUANTUM = {"kind": "quantum_zz", "qubits": 2, "scaling": {"range": [0.0, 3.0]}}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fields(pairs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(pairs, 2, 1, generator=generator(seed))


def fitted(spec: KernelRidgeSpec, train: Examples, valid: Examples | None = None) -> KernelNetwork:
    network = spec.build(LINE, generator())
    spec.fit_network(network, train, valid, generator())
    return network


def test_a_linear_kernel_is_ridge_regression() -> None:
    a, u = fields(30), fields(30, 1)
    network = fitted(KernelRidgeSpec(kernel="linear", ridge=0.1), Examples(a, u))
    X, Y = a.flatten(1).double(), u.flatten(1).double()
    # The penalty in units of the mean of k(a, a).
    unit = X @ X.mT
    k = network.kernel.square(X, network.kernel.prepare(X))
    gain = k[0, 0] / unit[0, 0]
    penalty = 0.1 * k.diagonal().mean() / gain
    W = torch.linalg.solve(X.mT @ X + penalty * torch.eye(2, dtype=X.dtype), X.mT @ (Y - Y.mean(0)))
    z = fields(5, 2)
    expected = Y.mean(0) + z.flatten(1).double() @ W
    torch.testing.assert_close(network(z).flatten(1).double(), expected, rtol=1e-5, atol=1e-5)


def test_without_a_penalty_the_training_pairs_are_met() -> None:
    a, u = fields(20), fields(20, 1)
    network = fitted(KernelRidgeSpec(ridge=1e-10), Examples(a, u))
    torch.testing.assert_close(network(a), u, rtol=1e-4, atol=1e-4)


def test_errors_are_those_of_rows_that_are_left_out() -> None:
    draw = np.random.default_rng(0)
    points = torch.from_numpy(draw.normal(size=(12, 3)))
    G, Y = points @ points.mT + 1, torch.from_numpy(draw.normal(size=(12, 2)))
    found = kernel_ridge(G, Y, [0.3, 0.01])
    for place, ridge in enumerate([0.3, 0.01]):
        left = []
        for row in range(12):
            kept = [other for other in range(12) if other != row]
            penalised = G[kept][:, kept] + ridge * G.diagonal().mean() * torch.eye(11, dtype=G.dtype)
            left.append(Y[row] - G[row, kept] @ torch.linalg.solve(penalised, Y[kept]))
        expected = torch.stack(left).norm() / Y.norm()
        assert float(found.errors[place]) == pytest.approx(float(expected), rel=1e-10)
    assert found.ridge == [0.3, 0.01][int(found.errors.argmin())]


def test_weights_count_as_repeated_rows() -> None:
    draw = np.random.default_rng(0)
    points = torch.from_numpy(draw.normal(size=(10, 2)))
    G, Y = torch.exp(-(torch.cdist(points, points) ** 2)), torch.from_numpy(draw.normal(size=(10, 1)))
    count = torch.tensor([1, 2, 3, 1, 1, 2, 1, 1, 3, 1])
    rows = torch.arange(10).repeat_interleave(count)
    weighted = kernel_ridge(G, Y, [0.1], weights=count.double()).coefficients
    repeated = kernel_ridge(G[rows][:, rows], Y[rows], [0.1]).coefficients
    torch.testing.assert_close(G @ weighted, (G[:, rows] @ repeated), rtol=1e-9, atol=1e-12)


def test_the_penalty_is_chosen_by_the_valid_part() -> None:
    a = fields(40)
    noisy = a.sum(1, keepdim=True).expand(-1, 2, 1) + 0.5 * fields(40, 1)
    valid = fields(40, 2)
    judges = Examples(valid, valid.sum(1, keepdim=True).expand(-1, 2, 1))
    network, spec = KernelRidgeSpec().build(LINE, generator()), KernelRidgeSpec()
    facts = spec.fit_network(network, Examples(a, noisy), judges, generator())
    assert facts["ridge"] >= 1e-3
    error = (network(valid) - judges.outputs).norm() / (judges.outputs - noisy.mean(0)).norm()
    assert facts["validation_error"] == pytest.approx(float(error), rel=1e-4)


def test_a_circuit_of_two_qubits_recovers_what_its_own_states_say() -> None:
    # Expectations of an observable are linear in |Φ><Φ|: in the space of the kernel.
    spec = KernelRidgeSpec(kernel=QUANTUM, ridge=1e-10)
    a, z = fields(60), fields(20, 1).clamp(-1, 1)
    kernel = spec.kernel
    chosen = kernel.prepare(a.flatten(1).double())

    def observed(x: torch.Tensor) -> torch.Tensor:
        states = kernel.states(x.flatten(1).double() @ chosen["projection"] + chosen["shift"])
        parity = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
        return (states.abs().square() @ parity)[:, None, None].expand(-1, 2, 1).float()

    network = fitted(spec, Examples(a, observed(a)))
    torch.testing.assert_close(network(z), observed(z), rtol=1e-3, atol=1e-3)
    counted = KernelRidgeSpec(kernel={**QUANTUM, "shots": 4096}, ridge=1e-2)
    error = (fitted(counted, Examples(a, observed(a)))(z) - observed(z)).norm() / observed(z).norm()
    assert 1e-3 < float(error) < 0.3


def test_a_map_and_its_stored_copy_say_the_same_to_the_bit() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3, 4))
    dataset = xr.Dataset({"u": (("sample", "time", "x"), values)}, coords={"time": np.arange(3)})
    info = FieldsInfo({"u": "1"}, (Axis("x", 4, periodic=True, length=1.0),), TimeAxis(3, 1.0), 20)
    data, mapping, spec = FieldData(dataset, info), MappingSpec(given=1, predicted=2), KernelRidgeSpec()
    model = fit(TrainingTask(spec, TrainingSpec(), data, mapping), seed=0)
    copy = spec.restore(info, model.tensors(), mapping)
    given = data.tensor()[:, :1]
    assert torch.equal(copy.predict(given), model.predict(given))


def test_too_many_pairs_and_qubits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = list(KernelRidgeSpec(kernel={**QUANTUM, "qubits": 3}).faults(LINE))
    assert faults[0].path == ("kernel", "qubits")
    assert "3 are above 2, the coordinates" in faults[0].message
    monkeypatch.setattr("koopcast.operators.kernel_ridge.MOST_PAIRS", 10)
    with pytest.raises(DataError, match="20 training pairs are above 10"):
        fitted(KernelRidgeSpec(), Examples(fields(20), fields(20, 1)))
