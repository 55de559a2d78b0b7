"""Kernel EDMD: what it reduces to, exact spectra, and residuals that hold with few samples."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import EDMDSpec, KernelEDMDSpec
from koopcast.koopman.gram import distinct_points
from koopcast.models import Model

MakeFields = Callable[..., FieldData]
CUBIC = {"kind": "polynomial", "degree": 3}


def _curve(samples: int = 40, times: int = 4) -> np.ndarray:
    rng = np.random.default_rng(4)
    states = [rng.uniform(-1, 1, size=(samples, 2))]
    for _ in range(times - 1):
        x, y = states[-1].T
        states.append(np.stack([0.9 * x + 0.1 * y**2, np.sin(y) - 0.3 * x * y], axis=1))
    return np.stack(states, axis=1)


def _torus(samples: int = 150) -> np.ndarray:
    angle = np.random.default_rng(2).uniform(0, 2 * np.pi, size=(samples, 1, 2))
    angle = angle + np.arange(3)[:, None] * np.array([0.7, 1.9])
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=2)


def _values(model: Model) -> np.ndarray:
    diagnostics = model.diagnostics()
    return (diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values


def _sorted(values: np.ndarray) -> np.ndarray:
    return np.array(sorted(values, key=lambda v: (round(v.real, 6), round(v.imag, 6))))


def test_the_polynomial_kernel_is_edmd_with_all_monomials(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(_curve())
    shared = {"coordinates": "values", "center": False}
    kernel = KernelEDMDSpec(kernel=CUBIC, functions=10, regularisation=0.0, ridge=0.0, **shared)
    model = kernel.fit(fields, generator)
    plain = EDMDSpec(dictionary=CUBIC, ridge=0.0, **shared).fit(fields, generator)
    assert np.allclose(_sorted(_values(model)), _sorted(_values(plain)), atol=1e-7)
    frames = torch.from_numpy(_curve())[:, :1, :, None]
    assert torch.allclose(model.forecast(frames, [1]), plain.forecast(frames, [1]), atol=1e-6)


@pytest.mark.parametrize("estimator", ["projected", "reduced_rank"])
def test_pairs_of_trajectories_and_pairs_without_order_are_decomposed_alike(
    generator: torch.Generator, estimator: str
) -> None:
    states = torch.from_numpy(_curve(samples=5, times=12))
    X, Y, one = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1), torch.ones(55, 1).double()
    points, following = distinct_points(X, Y)
    assert len(points) == 60
    assert torch.equal(points[following], Y)
    spec = KernelEDMDSpec(functions=6, estimator=estimator, regularisation=1e-8)
    mixed = torch.randperm(55, generator=generator)
    # Out of order no image is the next state: all matrices are evaluated on their own.
    assert len(distinct_points(X[mixed], Y[mixed])[0]) > 100
    shared = spec.decompose(X, Y, one, generator).eigenpairs
    separate = spec.decompose(X[mixed], Y[mixed], one, generator).eigenpairs
    assert torch.allclose(shared.values, separate.values, atol=1e-8)
    assert torch.allclose(shared.residuals, separate.residuals, atol=1e-6)


@pytest.mark.parametrize("estimator", ["projected", "reduced_rank"])
def test_all_states_as_centers_are_the_full_kernel(
    make_fields: MakeFields, generator: torch.Generator, estimator: str
) -> None:
    fields = make_fields(_curve(30))
    shared = {"coordinates": "values", "functions": 12, "estimator": estimator, "regularisation": 1e-8}
    full = KernelEDMDSpec(**shared).fit(fields, generator)
    for landmarks in ("random", "pivoted"):
        nystroem = KernelEDMDSpec(centers=90, landmarks=landmarks, **shared).fit(fields, generator)
        assert np.allclose(_values(nystroem), _values(full), atol=1e-9)


@pytest.mark.parametrize("landmarks", ["random", "pivoted"])
def test_fewer_centers_come_close(
    make_fields: MakeFields, generator: torch.Generator, landmarks: str
) -> None:
    fields = make_fields(_curve(60))
    shared = {"coordinates": "values", "functions": 8}
    full = _values(KernelEDMDSpec(**shared).fit(fields, generator))
    some = _values(KernelEDMDSpec(centers=60, landmarks=landmarks, **shared).fit(fields, generator))
    leading = full[np.argsort(-np.abs(full))][:3]
    assert max(np.abs(some - value).min() for value in leading) < 0.03


@pytest.mark.parametrize("kernel", ["gaussian", "matern", "lorentzian"])
@pytest.mark.parametrize("estimator", ["projected", "reduced_rank"])
def test_a_rotation_of_the_torus_has_its_exact_eigenvalues(
    make_fields: MakeFields, generator: torch.Generator, kernel: str, estimator: str
) -> None:
    spec = KernelEDMDSpec(kernel=kernel, coordinates="values", estimator=estimator, functions=25)
    found = _values(spec.fit(make_fields(_torus()), generator))
    exact = np.exp(1j * np.array([0, 0.7, -0.7, 1.9, -1.9]))
    # The leading functions of an invariant kernel are nearly those of the torus; sampling mixes them.
    assert max(np.abs(found - value).min() for value in exact) < 0.03


def test_the_dual_residual_is_that_of_the_perron_frobenius_operator(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    # With the linear kernel and an exact linear map P k(x, ·) = k(A x, ·) is A itself, without residual; with
    # a kernel of more functions than are kept it is √(w* L w - |λ|²) for w a unit left vector.
    A = np.array([[0.9, 0.3], [-0.2, 0.7]])
    start = np.random.default_rng(0).normal(size=(12, 2))
    exact = make_fields(np.stack([start, start @ A.T], axis=1))
    spec = KernelEDMDSpec(kernel="linear", coordinates="values", center=False, functions=2)
    model = spec.fit(exact, generator)
    assert np.allclose(_sorted(_values(model)), _sorted(np.linalg.eigvals(A)))
    assert model.diagnostics()["residual"].values.max() < 1e-6
    bent = start @ A.T + 0.2 * start**2
    spec = KernelEDMDSpec(
        kernel={"kind": "polynomial", "degree": 2}, coordinates="values", center=False, functions=2
    )
    model = spec.fit(make_fields(np.stack([start, bent], axis=1)), generator)
    tensors = model.tensors()
    X, Y = (torch.from_numpy(u)[:, None, :, None] for u in (start, bent))
    x, y = ((u[:, 0, :, 0] / tensors["factor"]).numpy() for u in (X, Y))
    scale = np.linalg.norm(x, axis=1).mean()

    def kernel(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.asarray((1 + (u / scale) @ (v / scale).T) ** 2)

    values, U = np.linalg.eigh(kernel(x, x))
    UU = U[:, -2:] / np.sqrt(values[-2:])
    K, L = UU.T @ kernel(x, y) @ UU, UU.T @ kernel(y, y) @ UU
    eigenvalues, w = np.linalg.eig(K)
    size = (w.conj() * w).sum(axis=0).real
    squared = (w.conj() * (L @ w)).sum(axis=0).real / size - np.abs(eigenvalues) ** 2
    residual = np.sqrt(np.maximum(squared, 0))
    order = np.argsort(residual)
    assert residual.min() > 0.01
    assert np.allclose(model.diagnostics()["residual"].values, residual[order])
    assert np.allclose(np.abs(_values(model)), np.abs(eigenvalues[order]))


def test_with_as_many_functions_as_samples_only_the_dual_residual_speaks(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    noise = make_fields(np.random.default_rng(0).normal(size=(60, 2, 2)))
    shared = {"coordinates": "values", "kernel": "laplacian", "functions": 60}
    blind = KernelEDMDSpec(residual="data", **shared).fit(noise, generator).diagnostics()
    dual = KernelEDMDSpec(residual="dual", **shared).fit(noise, generator).diagnostics()
    assert float(blind["residual"].max()) < 1e-6
    assert float(dual["residual"].min()) > 0.1
    assert float(dual["residual"].median()) > 0.4
    assert not dual["verified"].any()


def test_reduced_rank_regression_predicts_what_principal_directions_miss(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    # A large variable without memory hides a small one with memory.
    rng = np.random.default_rng(0)
    x = np.zeros((1, 400, 2))
    for time in range(1, 400):
        x[0, time] = [10 * rng.normal(), 0.9 * x[0, time - 1, 1] + 0.1 * rng.normal()]
    shared = {"kernel": "linear", "coordinates": "values", "functions": 1}
    fields = make_fields(x)
    projected = _values(KernelEDMDSpec(**shared).fit(fields, generator))
    reduced = KernelEDMDSpec(estimator="reduced_rank", regularisation=1e-9, **shared)
    assert abs(projected[0]) < 0.2
    assert abs(_values(reduced.fit(fields, generator))[0] - 0.9) < 0.05


def test_a_measured_kernel_leaves_its_gram_matrices(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    kernel = {"kind": "quantum_zz", "shots": 200}
    spec = KernelEDMDSpec(kernel=kernel, coordinates="values", functions=5, modes="all")
    fields = make_fields(_curve(10))
    model = spec.fit(fields, generator)
    diagnostics = model.diagnostics()
    off = np.abs(diagnostics["gram"] - diagnostics["gram_exact"]).values
    assert 0 < off.max() < 0.3
    again = spec.restore(fields.info, model.tensors())
    frames = torch.from_numpy(_curve(10))[:, :1, :, None]
    assert torch.equal(again.forecast(frames, [2]), model.forecast(frames, [2]))
    assert again.diagnostics().identical(diagnostics)
    assert isinstance(diagnostics, xr.Dataset)


def test_what_cannot_be_is_refused_before_and_at_the_fit(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(_curve(5))
    with pytest.raises(DataError, match="40 centers are above 15 training pairs"):
        KernelEDMDSpec(centers=40).fit(fields, generator)
    problems = list(KernelEDMDSpec(centers=40).check(fields.shape_info))
    assert [problem.path for problem in problems] == [("centers",)]
    with pytest.raises(ValidationError, match="functions: 32 are above 8, the centers"):
        KernelEDMDSpec(centers=8)
    with pytest.raises(ValidationError, match="regularisation: 0 with estimator: reduced_rank"):
        KernelEDMDSpec(estimator="reduced_rank", regularisation=0)
    wide = KernelEDMDSpec(kernel={"kind": "quantum_zz", "qubits": 3}, coordinates="values")
    assert [problem.path for problem in wide.check(fields.shape_info)] == [("kernel", "qubits")]
