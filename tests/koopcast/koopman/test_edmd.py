from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import EDMDSpec
from koopcast.koopman.dictionaries import AnyDictionary, PolynomialSpec, RBFSpec
from koopcast.koopman.edmd import _by_gram, _compressed
from koopcast.numerics.ridge import ridge_regression

MakeFields = Callable[..., FieldData]
RNG = np.random.default_rng(2)
EXACT = {"rank": None, "ridge": 0.0}


def _slow_manifold(samples: int, times: int, mu: float = 0.9, rate: float = 0.5) -> np.ndarray:
    """Return x ← μ x, y ← λ y + (μ² - λ) x², whose observables x, y, x² close under the map."""
    x, y = RNG.uniform(-1, 1, size=(2, samples))
    states = [(x, y)]
    for _ in range(times - 1):
        x, y = states[-1]
        states.append((mu * x, rate * y + (mu**2 - rate) * x**2))
    return np.stack([np.stack(state, axis=-1) for state in states], axis=1)


def _henon(samples: int, times: int) -> np.ndarray:
    states = [RNG.uniform(-0.3, 0.3, size=(samples, 2))]
    for _ in range(times + 20):
        x, y = states[-1].T
        states.append(np.stack([1 - 1.2 * x**2 + y, 0.3 * x], axis=1))
    return np.stack(states[-times:], axis=1)


def _one_step_error(spec: EDMDSpec, train: FieldData, test: np.ndarray) -> float:
    model = spec.fit(train, torch.Generator().manual_seed(0))
    frames = torch.from_numpy(test)[..., None]
    starts, ends = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
    return float((model.forecast(starts[:, None], [1])[:, 0] - ends).square().mean().sqrt())


@pytest.mark.parametrize("center", [True, False])
def test_polynomials_contain_the_exact_spectrum_of_the_slow_manifold(
    make_fields: MakeFields, generator: torch.Generator, center: bool
) -> None:
    spec = EDMDSpec(dictionary={"kind": "polynomial", "degree": 2}, center=center, **EXACT)
    model = spec.fit(make_fields(_slow_manifold(40, 6)), generator)
    found = (lambda d: (d["eigenvalue_real"] + 1j * d["eigenvalue_imag"]).values)(model.diagnostics())
    residual = model.diagnostics()["residual"].values
    # 1 (constant), μ, μ² (x²) and λ (y - x²) span an invariant space; the two others do not close.
    for exact in (1.0, 0.9, 0.81, 0.5):
        nearest = int(np.argmin(np.abs(found - exact)))
        assert abs(found[nearest] - exact) < 1e-8
        assert residual[nearest] < 1e-7
    assert sorted(residual)[4] > 1e-3


def test_polynomials_forecast_the_slow_manifold_without_error(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    spec = EDMDSpec(dictionary="polynomial", **EXACT)
    model = spec.fit(make_fields(_slow_manifold(40, 6)), generator)
    truth = torch.from_numpy(_slow_manifold(5, 12))[..., None]
    ahead = model.forecast(truth[:, :1], [1, 11])
    assert torch.allclose(ahead, truth[:, [1, 11]], atol=1e-9)
    assert bool((model.encode(truth[:, :1])[:, 2] == 1).all())


def test_polynomials_reproduce_a_quadratic_map_and_radial_functions_beat_a_line(
    make_fields: MakeFields,
) -> None:
    train, test = make_fields(_henon(20, 30)), _henon(5, 30)
    linear = _one_step_error(EDMDSpec(**EXACT), train, test)
    polynomial = _one_step_error(EDMDSpec(dictionary="polynomial", **EXACT), train, test)
    assert polynomial < 1e-10
    for kernel in ("gaussian", "inverse_quadratic", "thin_plate"):
        dictionary = {"kind": "rbf", "kernel": kernel, "centers": 30}
        radial = _one_step_error(EDMDSpec(dictionary=dictionary, rank=None, ridge=1e-10), train, test)
        assert radial < 0.1 * linear


def test_delays_find_two_frequencies_in_one_scalar(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    time = np.arange(100)
    signal = np.cos(0.3 * time) + 0.5 * np.sin(1.1 * time)
    model = EDMDSpec(delays=4, center=False, **EXACT).fit(make_fields(signal[None, :, None]), generator)
    assert np.allclose(
        np.sort(model.diagnostics()["period"].values)[[0, 2]], [2 * np.pi / 1.1, 2 * np.pi / 0.3]
    )


def test_older_components_are_copies_and_carry_no_noise(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(RNG.normal(size=(2, 60, 6)))
    model = EDMDSpec(rank=2, delays=3, ridge=0.1, dictionary={"kind": "rbf", "centers": 4}).fit(
        fields, generator
    )
    state = torch.randn(7, 6 + 5, generator=generator, dtype=torch.float64)
    ahead = model.step(state)
    assert torch.equal(ahead[:, 2:6], state[:, :4])
    assert torch.equal(ahead[:, 6], state[:, 6])  # the constant
    F = model.noise_factor()
    assert not F[2:7].any()
    assert bool((F[[0, 1, 7, 8, 9, 10]].norm(dim=1) > 0).all())


def test_the_map_is_ridge_regression_of_principal_components(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    values = RNG.normal(size=(1, 40, 3)) * [3.0, 2.0, 1.0]
    model = EDMDSpec(rank=3, delays=2, ridge=1e-2).fit(make_fields(values), generator)
    anomalies = torch.from_numpy(values[0] - values[0].mean(axis=0))
    _, _, Vh = torch.linalg.svd(anomalies, full_matrices=False)
    a = anomalies @ Vh.mT
    X = torch.cat([a[1:-1], a[:-2]], dim=1)
    # The definition of the penalty: 1e-2 times the mean eigenvalue of XᵀX.
    G = X.mT @ X
    B = torch.linalg.solve(G + 1e-2 * torch.trace(G) / 6 * torch.eye(6), X.mT @ a[2:])
    expected = X @ B @ Vh + torch.from_numpy(values[0].mean(axis=0))
    frames = torch.from_numpy(np.stack([values[0, :-2], values[0, 1:-1]], axis=1))[..., None]
    assert torch.allclose(model.forecast(frames, [1])[:, 0, :, 0], expected, atol=1e-10)
    assert ridge_regression(X, a[2:], 1e-2).degrees_of_freedom < 6


def test_noise_has_the_covariance_of_the_driving_noise(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    # x ← 0.8 x + e with e ~ N(0, C): decoded, the noise has this covariance.
    C = np.array([[0.5, 0.2], [0.2, 0.3]])
    L = np.linalg.cholesky(C)
    x = [np.zeros((50, 2))]
    for _ in range(200):
        x.append(0.8 * x[-1] + RNG.normal(size=(50, 2)) @ L.T)
    model = EDMDSpec(rank=2, ridge=0.0).fit(make_fields(np.stack(x[20:], axis=1)), generator)
    F = model.noise_factor()
    origin = model.decode(torch.zeros(1, 2, dtype=torch.float64))
    decoded = (model.decode(F.mT.contiguous()) - origin)[..., 0]
    # 9000 independent pairs: standard error of a variance 1.5 %.
    assert np.allclose(decoded.mT @ decoded, C, atol=0.03)


def test_coordinates_and_constant_come_first_in_every_dictionary() -> None:
    u = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    assert PolynomialSpec(degree=3).lift(u, {}).tolist() == [[1, 4, 6, 9, 8, 12, 18, 27]]
    assert PolynomialSpec(degree=3).num_observables(2) == 8
    tensors = {
        "centers": torch.tensor([[2.0, 3.0], [2.0, 5.0]], dtype=torch.float64),
        "width": torch.tensor([2.0]),
    }
    assert np.allclose(RBFSpec(centers=2).lift(u, tensors), [[1, 1, np.exp(-1)]])
    assert np.allclose(RBFSpec(centers=2, kernel="inverse_quadratic").lift(u, tensors), [[1, 1, 0.5]])
    assert np.allclose(RBFSpec(centers=2, kernel="thin_plate").lift(u, tensors), [[1, 0, 0]])
    assert np.allclose(
        RBFSpec(centers=2, kernel="thin_plate").lift(2 * u, tensors)[0, 2], 1.25 * np.log(1.25) / 2
    )
    assert TypeAdapter(AnyDictionary).validate_python("linear").num_observables(5) == 0


def test_a_rank_above_what_varies_is_refused(make_fields: MakeFields, generator: torch.Generator) -> None:
    with pytest.raises(
        DataError, match="rank 3 asked, but the training fields vary in 1 directions; lower `rank`"
    ):
        EDMDSpec(rank=3).fit(make_fields(RNG.normal(size=(2, 20, 1)).repeat(4, axis=2)), generator)


def test_more_observables_than_pairs_need_a_penalty(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(RNG.normal(size=(1, 12, 6)))
    with pytest.raises(DataError, match="28 observables are above 11 training pairs"):
        EDMDSpec(rank=6, ridge=0.0, dictionary="polynomial").fit(fields, generator)
    EDMDSpec(rank=6, ridge=0.1, dictionary="polynomial").fit(fields, generator)


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_measure_preserving_maps_have_all_eigenvalues_on_the_circle(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    spec = EDMDSpec(constraint="measure_preserving", coordinates="values", dictionary="polynomial")
    model = spec.fit(make_fields(_henon(30, 20)), generator)
    assert np.allclose(torch.linalg.eigvals(model.tensors()["operator"]).abs(), 1, atol=1e-12)
    # A rotation with noise: the angle is found, though plain regression shrinks it into the disc.
    x = [RNG.normal(size=(200, 2))]
    for _ in range(10):
        x.append(x[-1] @ _turn(0.4).T + 0.3 * RNG.normal(size=(200, 2)))
    noisy = make_fields(np.stack(x, axis=1))
    turned = EDMDSpec(constraint="measure_preserving", coordinates="values").fit(noisy, generator)
    values = torch.linalg.eigvals(turned.tensors()["operator"])
    assert np.allclose(np.abs(np.angle(values.numpy())), 0.4, atol=0.02)


def test_stable_maps_lengthen_nothing_and_are_least_squares_where_that_is_stable(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    A = np.array([[1.1, 0.2], [0.0, 0.6]])
    states = [RNG.normal(size=(50, 2))]
    for _ in range(4):
        states.append(states[-1] @ A.T)
    growing = make_fields(np.stack(states, axis=1))
    free = EDMDSpec(coordinates="values", ridge=0.0, center=False).fit(growing, generator)
    stable = EDMDSpec(coordinates="values", constraint="stable", center=False).fit(growing, generator)
    assert free.card()["spectral_radius"] > 1.09
    assert stable.card()["spectral_radius"] <= 1 + 1e-12
    shrinking = make_fields(np.stack([states[0], states[0] @ (0.5 * _turn(1.0)).T], axis=1))
    pair = [
        EDMDSpec(coordinates="values", ridge=0.0, constraint=kind).fit(shrinking, generator).tensors()
        for kind in ("none", "stable")
    ]
    assert torch.allclose(pair[0]["operator"], pair[1]["operator"], atol=1e-10)


def test_a_map_of_limited_rank_is_the_best_of_that_rank(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(RNG.normal(size=(1, 400, 4)) @ np.diag([3.0, 2.0, 1.0, 0.5]))
    limited = EDMDSpec(coordinates="values", ridge=0.1, map_rank=2).fit(fields, generator)
    K = limited.tensors()["operator"]
    assert int(torch.linalg.matrix_rank(K, atol=1e-10)) == 2
    full = EDMDSpec(coordinates="values", ridge=0.1, map_rank=4).fit(fields, generator)
    plain = EDMDSpec(coordinates="values", ridge=0.1).fit(fields, generator)
    assert torch.allclose(full.tensors()["operator"], plain.tensors()["operator"], atol=1e-12)
    # The objective ‖X B - Y‖² + λ‖B‖² at this B and at nearby matrices of the same rank.
    x = plain.encode(fields.tensor(dtype=torch.float64)[0, :, None])
    X, Y = x[:-1], x[1:]

    def objective(B: torch.Tensor) -> float:
        return float((X @ B - Y).square().sum() + 0.1 * X.square().sum() / 4 * B.square().sum())

    U, s, Vh = torch.linalg.svd(K.mT)
    for _ in range(100):
        left = U[:, :2] * s[:2] + 0.05 * torch.randn(4, 2, generator=generator, dtype=torch.float64)
        right = Vh[:2] + 0.05 * torch.randn(2, 4, generator=generator, dtype=torch.float64)
        assert objective(left @ right) >= objective(K.mT)


def test_a_constraint_and_a_limit_of_rank_exclude_one_another() -> None:
    with pytest.raises(ValidationError, match="map_rank: 2 with constraint: stable; remove one"):
        EDMDSpec(map_rank=2, constraint="stable")


@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_compressed_rows_have_the_products_of_all_rows(generator: torch.Generator, spread: float) -> None:
    # Close to one another, columns are too dependent for their Gram matrix, and QR takes over.
    common = torch.randn(400, 1, dtype=torch.float64, generator=generator)
    states = common + spread * torch.randn(400, 5, dtype=torch.float64, generator=generator)
    states[:, 0] = 1
    K = torch.randn(5, 5, dtype=torch.float64, generator=generator)
    following = states @ K + 1e-9 * torch.randn(400, 5, dtype=torch.float64, generator=generator)
    following[:, 0] = 1
    assert (_by_gram(states, following) is None) == (spread < 1)
    fewer, fewer_following = _compressed(states, following)
    assert len(fewer) == 10
    whole, rows = torch.cat([states, following], dim=1), torch.cat([fewer, fewer_following], dim=1)
    assert torch.allclose(rows.mT @ rows / 10, whole.mT @ whole / 400, rtol=1e-12)
    # What a fit leaves is kept to its own digits, far below the rounding of products of the whole.
    noise = following - states @ torch.linalg.lstsq(states, following).solution
    left = fewer_following - fewer @ torch.linalg.lstsq(fewer, fewer_following).solution
    squares = noise.square().mean(dim=0)
    assert torch.allclose(left.square().mean(dim=0)[1:], squares[1:], rtol=1e-4)
    assert float(left[:, 0].abs().max()) < 1e-13
