from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.optimize import minimize

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.koopman import DMDSpec, PiDMDSpec
from koopcast.numerics.structured_maps import (
    orthogonal_map,
    stencil_map,
    symmetric_map,
    triangular_map,
)

MakeFields = Callable[..., FieldData]
EXACT = {"center": False, "rank": None}


def _trajectories(A: np.ndarray, samples: int, times: int, seed: int = 0) -> np.ndarray:
    states = [np.random.default_rng(seed).normal(size=(samples, len(A)))]
    for _ in range(times - 1):
        states.append(states[-1] @ A.T)
    return np.stack(states, axis=1)


def _pairs(count: int = 30, size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    values = np.random.default_rng(3).normal(size=(2, count, size))
    return torch.from_numpy(values[0]), torch.from_numpy(values[1])


def _physical_map(model: object, size: int) -> np.ndarray:
    """Return the map of frames that one step of the model is."""
    unit = torch.eye(size, dtype=torch.float64)[:, None, :, None]
    zero = torch.zeros(1, 1, size, 1, dtype=torch.float64)
    return (model.forecast(unit, [1]) - model.forecast(zero, [1]))[:, 0, :, 0].numpy().T


@pytest.mark.parametrize(
    ("solve", "structure"),
    [
        (symmetric_map, lambda B: B + B.T),
        (lambda X, Y: symmetric_map(X, Y, -1), lambda B: B - B.T),
        (triangular_map, np.triu),
        (
            lambda X, Y: stencil_map(X, Y, torch.tensor([[-1, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, -1]])),
            lambda B: np.triu(np.tril(B, 1), -1),
        ),
    ],
    ids=["symmetric", "skew", "triangular", "tridiagonal"],
)
def test_a_map_is_the_minimiser_among_its_kind(
    solve: Callable[..., torch.Tensor], structure: Callable[[np.ndarray], np.ndarray]
) -> None:
    X, Y = _pairs()
    A = solve(X, Y).numpy()

    def error(flat: np.ndarray) -> float:
        return float(np.sum((Y.numpy() - X.numpy() @ structure(flat.reshape(4, 4)).T) ** 2))

    # The set is a linear space: a quasi-Newton search in it finds the one minimum.
    found = structure(minimize(error, np.zeros(16), tol=1e-12).x.reshape(4, 4))
    assert np.allclose(A, found, atol=1e-5)
    # The search's own projection of A on the set, up to its factor, is A.
    assert np.allclose(structure(A) * (A[0, 1] / structure(A)[0, 1]), A, atol=1e-14)


def test_the_orthogonal_map_of_turned_and_noisy_points_is_procrustes() -> None:
    X, _ = _pairs()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    A = orthogonal_map(X, X @ torch.from_numpy(turn).mT)
    assert np.allclose(A, turn, atol=1e-12)
    B = orthogonal_map(*_pairs())
    assert np.allclose(B @ B.mT, np.eye(4), atol=1e-14)


@pytest.mark.parametrize("manifold", ["orthogonal", "symmetric", "skew_symmetric"])
def test_noisy_frames_give_a_map_exactly_on_the_manifold(
    make_fields: MakeFields, generator: torch.Generator, manifold: str
) -> None:
    angle = 0.3 * np.arange(80)
    # On orthonormal patterns the turn conserves energy.
    patterns = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 2)))[0].T
    clean = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ patterns
    noisy = clean + 0.2 * np.random.default_rng(1).normal(size=clean.shape)
    model = PiDMDSpec(manifold=manifold, center=False, rank=2).fit(make_fields(noisy[None]), generator)
    K = model.tensors()["operator"].numpy()
    values = (lambda d: (d["eigenvalue_real"] + 1j * d["eigenvalue_imag"]).values)(model.diagnostics())
    if manifold == "orthogonal":
        assert np.allclose(K @ K.T, np.eye(2), atol=1e-13)
        assert np.allclose(np.abs(values), 1, atol=1e-12)
        # Noise draws the plain map inwards, the frequency of the leading pair stays.
        plain = DMDSpec(ridge=0.0, center=False, rank=2).fit(make_fields(noisy[None]), generator)
        assert plain.card()["spectral_radius"] < 0.995
        assert np.abs(np.abs(np.angle(values)) - 0.3).min() < 0.01
    else:
        sign = 1 if manifold == "symmetric" else -1
        assert np.allclose(K, sign * K.T, atol=1e-13)
        assert np.allclose(values.imag if sign == 1 else values.real, 0, atol=1e-12)


def test_the_map_of_a_linear_system_on_the_manifold_is_found_exactly(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    rng = np.random.default_rng(2)
    dense = rng.normal(size=(5, 5)) / 4
    systems = {
        "orthogonal": np.linalg.qr(dense)[0],
        "symmetric": dense + dense.T,
        "skew_symmetric": dense - dense.T,
        "diagonal": np.diag(rng.uniform(-1, 1, 5)),
        "local": np.triu(np.tril(dense, 1), -1),
        "upper_triangular": np.triu(dense),
    }
    for manifold, A in systems.items():
        options = {"center": False} if manifold in ("diagonal", "local", "upper_triangular") else EXACT
        model = PiDMDSpec(manifold=manifold, **options).fit(make_fields(_trajectories(A, 8, 5)), generator)
        assert np.allclose(_physical_map(model, 5), A, atol=1e-10), manifold


def test_advection_is_one_phase_a_wave(make_fields: MakeFields, generator: torch.Generator) -> None:
    shift = np.roll(np.eye(16), 3, axis=0)
    fields = make_fields(_trajectories(0.98 * shift, 1, 9))
    ring = replace(fields, info=replace(fields.info, axes=(Axis("x", 16, periodic=True),)))
    model = PiDMDSpec(manifold="circulant", **EXACT).fit(ring, generator)
    # Eight pairs know nothing of sixteen cells, but everything of sixteen wavenumbers.
    assert np.allclose(_physical_map(model, 16), 0.98 * shift, atol=1e-12)
    exact = 0.98 * np.exp(-2j * np.pi * 3 * np.arange(16) / 16)
    found = (lambda d: (d["eigenvalue_real"] + 1j * d["eigenvalue_imag"]).values)(model.diagnostics())
    assert np.allclose(np.abs(found[:, None] - exact).min(axis=1), 0, atol=1e-10)
    assert np.allclose(np.abs(found[:, None] - exact).min(axis=0), 0, atol=1e-10)
    few = PiDMDSpec(manifold="circulant", center=False, rank=5).fit(ring, generator)
    assert few.card()["rank"] in (4, 5)
    A = _physical_map(few, 16)
    assert np.allclose(np.roll(A, (1, 1), axis=(0, 1)), A, atol=1e-13)


def test_shifts_along_one_axis_leave_the_other_free(generator: torch.Generator) -> None:
    # u(y, x) moves by y cells a step: equivariant along x, not along y.
    rng = np.random.default_rng(0)
    first = rng.normal(size=(3, 8, 2))
    frames = [first]
    for _ in range(12):
        moved = np.stack([np.roll(frames[-1][y], y, axis=0) for y in range(3)])
        frames.append(0.9 * moved[..., ::-1])
    values = np.stack(frames)[None]
    info = FieldsInfo(
        {"a": "1", "b": "1"},
        (Axis("y", 3), Axis("x", 8, periodic=True)),
        TimeAxis(13, 1.0),
    )
    dims = ("sample", "time", "y", "x")
    dataset = xr.Dataset(
        {"a": (dims, values[..., 0]), "b": (dims, values[..., 1])}, coords={"time": np.arange(13.0)}
    )
    model = PiDMDSpec(manifold="circulant", **EXACT).fit(FieldData(dataset, info), generator)
    given = torch.from_numpy(values[0])
    assert torch.allclose(model.forecast(given[:1, None], [12])[:, 0], given[12:], atol=1e-9)


def test_a_local_map_wraps_around_periodic_axes_and_skips_masked_cells(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    diffusion = 0.6 * np.eye(6) + 0.2 * np.roll(np.eye(6), 1, axis=0) + 0.2 * np.roll(np.eye(6), -1, axis=0)
    fields = make_fields(_trajectories(diffusion, 6, 4))
    ring = replace(fields, info=replace(fields.info, axes=(Axis("x", 6, periodic=True),)))
    model = PiDMDSpec(manifold="local", center=False).fit(ring, generator)
    assert np.allclose(_physical_map(model, 6), diffusion, atol=1e-10)
    mask = np.ones(6, dtype=bool)
    mask[2] = False
    A = _physical_map(
        PiDMDSpec(manifold="local", center=False).fit(
            make_fields(_trajectories(diffusion, 6, 4), mask=mask), generator
        ),
        6,
    )
    assert not A[1, 3]
    assert not A[2].any()
    assert A[3, 4]


def test_what_a_structure_does_not_have_is_told(make_fields: MakeFields, generator: torch.Generator) -> None:
    fields = make_fields(np.random.default_rng(0).normal(size=(2, 9, 40)))

    def faults(info: FieldsInfo = fields.info, **options: object) -> list[tuple[tuple[str | int, ...], str]]:
        return [(problem.path, problem.message) for problem in PiDMDSpec(**options).check(info)]

    assert faults() == []
    assert "no periodic" not in str(faults(manifold="symmetric"))
    assert "needs a periodic axis" in faults(manifold="circulant")[0][1]
    assert "leave rank out" in faults(manifold="diagonal", rank=3)[0][1]
    assert faults(manifold="local", delays=2)[0][0] == ("delays",)
    assert faults(manifold="diagonal", reach=2)[0] == (("reach",), "'diagonal' has no reach; remove it")
    wide = replace(fields.info, axes=(Axis("x", 5000, periodic=True),))
    assert "maps 5000 values of a frame, above 2000" in faults(wide, manifold="upper_triangular")[0][1]
    assert faults(wide, manifold="circulant", rank="optimal")[0][0] == ("rank",)
    masked = replace(wide, is_masked=True)
    assert "needs data in every cell" in faults(masked, manifold="circulant")[0][1]
    with pytest.raises(DataError, match=r"needs pairs in all 40 directions of a frame.*has 16"):
        PiDMDSpec(manifold="upper_triangular").fit(fields, generator)
    ring = replace(fields, info=replace(fields.info, axes=(Axis("x", 40, periodic=True),)))
    with pytest.raises(DataError, match="rank 1 is below 2, the modes of one wave"):
        PiDMDSpec(manifold="circulant", rank=1).fit(ring, generator)


def test_a_restored_map_of_waves_is_the_same_to_the_bit(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    shift = np.roll(np.eye(12), 2, axis=0)
    fields = make_fields(_trajectories(shift, 2, 10))
    ring = replace(fields, info=replace(fields.info, axes=(Axis("x", 12, periodic=True),)))
    spec = PiDMDSpec(manifold="circulant", rank=0.8)
    model = spec.fit(ring, generator)
    again = spec.restore(ring.info, {name: tensor.clone() for name, tensor in model.tensors().items()})
    frames = ring.tensor(dtype=torch.float64)[:, :1]
    assert torch.equal(again.forecast(frames, [1, 5]), model.forecast(frames, [1, 5]))
    assert model.card()["training_pairs"] == 2 * 9
    with pytest.raises(DataError, match="unequally spaced"):
        spec.fit(replace(ring, info=replace(ring.info, time=TimeAxis(10, ""))), generator)
