"""Residuals that tell true eigenvalues from false ones, and what they certify."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import EDMDSpec, ResDMDSpec
from koopcast.koopman.certificates import WITHOUT_MODULUS, PlaneSpec, knee
from koopcast.subsets import SubsetSpec

MakeFields = Callable[..., FieldData]
ANGLE = 0.7
CUBIC = {"kind": "polynomial", "degree": 3}


def _rotation(samples: int = 20, times: int = 30) -> np.ndarray:
    start = 2 * np.pi * np.arange(samples)[:, None] / samples
    angle = start + ANGLE * np.arange(times)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _values(diagnostics: xr.Dataset) -> np.ndarray:
    return (diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values


def _doubling(samples: int = 400) -> np.ndarray:
    angle = 2 * np.pi * np.arange(samples) / samples
    states = [np.stack([np.cos(k * angle), np.sin(k * angle)], axis=-1) for k in (1, 2)]
    return np.stack(states, axis=1)


@pytest.mark.parametrize("modes", ["verified", "all", "knee"])
def test_a_rotation_has_its_exact_spectrum_and_forecast(
    make_fields: MakeFields, generator: torch.Generator, modes: str
) -> None:
    spec = ResDMDSpec(coordinates="values", dictionary=CUBIC, modes=modes, ridge=0.0)
    model = spec.fit(make_fields(_rotation()), generator)
    found = _values(model.diagnostics())
    # On the circle ten monomials span seven functions: e^{ikθ}, |k| ≤ 3.
    exact = np.exp(1j * ANGLE * np.arange(-3, 4))
    assert len(found) == 7
    assert max(np.abs(found - value).min() for value in exact) < 1e-10
    assert model.diagnostics()["verified"].values.all()
    frames = torch.from_numpy(_rotation())[..., None]
    assert torch.allclose(model.forecast(frames[:, :1], [1, 25]), frames[:, [1, 25]], atol=1e-7)


def test_all_false_eigenvalues_of_the_doubling_map_are_flagged(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    spec = ResDMDSpec(coordinates="values", dictionary={"kind": "polynomial", "degree": 6}, modes="all")
    diagnostics = spec.fit(make_fields(_doubling()), generator).diagnostics()
    # e^{ikθ}, |k| ≤ 6: the constant, and 12 false ones.
    assert diagnostics.sizes["mode"] == 13
    assert diagnostics["verified"].values.tolist() == [1] + [0] * 12
    assert diagnostics["residual"].values[1:].min() > 0.99


def test_all_modes_are_edmd_without_penalty(make_fields: MakeFields, generator: torch.Generator) -> None:
    rng = np.random.default_rng(4)
    states = [rng.uniform(-1, 1, size=(60, 2))]
    for _ in range(5):
        x, y = states[-1].T
        states.append(np.stack([0.9 * x + 0.1 * y**2, np.sin(y) - 0.3 * x * y], axis=1))
    fields = make_fields(np.stack(states, axis=1))
    shared = {"coordinates": "values", "dictionary": "polynomial"}
    residual = ResDMDSpec(modes="all", ridge=0.0, **shared).fit(fields, generator)
    plain = EDMDSpec(ridge=0.0, **shared).fit(fields, generator)
    assert np.allclose(
        np.sort(np.abs(_values(residual.diagnostics()))), np.sort(np.abs(_values(plain.diagnostics())))
    )
    frames = torch.from_numpy(states[0])[:, None, :, None]
    # Frames are rebuilt by regression here, which holds them exactly: they are among the observables.
    assert torch.allclose(residual.forecast(frames, [1]), plain.forecast(frames, [1]), atol=1e-8)


def test_pairs_left_out_do_not_move_the_forecast(make_fields: MakeFields, generator: torch.Generator) -> None:
    # Rotation beside noise: with the noise's pairs left out, its forecast is its mean.
    rng = np.random.default_rng(0)
    values = np.concatenate([_rotation(40, 40), rng.normal(size=(40, 40, 1))], axis=2)
    spec = ResDMDSpec(coordinates="values", dictionary="polynomial", modes="verified", tolerance=0.2)
    model = spec.fit(make_fields(values), generator)
    ahead = model.forecast(torch.from_numpy(values)[:, :1, :, None], [3])[:, 0, :, 0]
    assert np.abs(ahead[:, :2].numpy() - values[:, 3, :2]).max() < 0.1
    assert np.abs(ahead[:, 2].numpy()).max() < 0.3
    assert "residual" in model.card()["certificate"]


def test_gauss_legendre_starts_make_the_inner_product_exact(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    # x ← x² on [-1, 1] and g = x: <g∘F, g> = ∫ x³ = 0, <g∘F, 1> = ∫ x² / 2 = 1/3, <1, 1> = 1.
    nodes, weights = np.polynomial.legendre.leggauss(12)
    values = np.stack([nodes, nodes**2], axis=1)[..., None]
    spec = ResDMDSpec(
        coordinates="values", center=False, dictionary="polynomial", modes="all", quadrature="gauss_legendre"
    )
    given = make_fields(values)
    model = spec.fit(given, generator)
    # Polynomials of degree 2: K has columns of the projections of 1, x², x⁴; its trace is
    # 1 + 0 (x ↦ x² has no part x) + <P x⁴> on x²: x⁴ ≈ 6/7 x² - 3/35.
    assert np.isclose(_values(model.diagnostics()).sum().real, 1 + 6 / 7)
    same = FieldData(given.dataset.assign(weight=("sample", weights)), given.info)
    again = spec.model_copy(update={"quadrature": "given"}).fit(same, generator)
    assert torch.equal(again.tensors()["eigenvalues"], model.tensors()["eigenvalues"])
    uniform = spec.model_copy(update={"quadrature": "uniform"}).fit(given, generator)
    assert not np.isclose(_values(uniform.diagnostics()).sum().real, 1 + 6 / 7)
    with pytest.raises(DataError, match="quadrature: given asks for a variable `weight`"):
        spec.model_copy(update={"quadrature": "given"}).fit(given, generator)


def test_the_pseudospectrum_of_a_rotation_is_the_distance_to_its_spectrum(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    plane = PlaneSpec(re=(-1.5, 1.5, 7), im=(-1.0, 1.0, 5))
    spec = ResDMDSpec(coordinates="values", dictionary=CUBIC, algorithm="both", grid=plane)
    found = spec.fit(make_fields(_rotation()), generator).diagnostics()["pseudospectrum"]
    z = found["re"].values[:, None] + 1j * found["im"].values
    spectrum = np.exp(1j * ANGLE * np.arange(-3, 4))
    # A normal operator: τ(z) is the distance.
    assert np.allclose(found.values, np.abs(z[..., None] - spectrum).min(axis=-1), atol=1e-10)


@pytest.mark.parametrize("measure", ["moments", {"kind": "rational", "epsilon": 0.05}])
def test_the_density_of_a_rotation_peaks_at_its_angle(
    make_fields: MakeFields, generator: torch.Generator, measure: object
) -> None:
    spec = ResDMDSpec(coordinates="values", dictionary=CUBIC, spectral_measure=measure)
    density = spec.fit(make_fields(_rotation(times=60)), generator).diagnostics()["spectral_density"]
    half = density.sel(angle=slice(0, None))
    assert abs(float(half["angle"][int(half.values.argmax())]) - ANGLE) < 0.02
    if measure == "moments":
        # cos θ of variance 1 after normalisation: half of its power at each of ±0.7, nothing elsewhere.
        diagnostics = spec.fit(make_fields(_rotation(times=60)), generator).diagnostics()
        turn = np.abs(np.angle(_values(diagnostics)))
        expected = np.where(np.isclose(turn, ANGLE), 0.5, 0.0)
        assert np.allclose(diagnostics["atom_weight"].values, expected, atol=0.03)
    # Symmetric for a real observable, and its mass is the variance of the normalised coordinate.
    assert np.allclose(density.values, density.values[::-1], atol=1e-6)
    assert np.isclose(np.trapezoid(density.values, density["angle"].values), 1, atol=0.05)


def test_without_a_modulus_the_certificate_says_so_and_with_one_it_widens(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, size=(200, 1, 2)) * np.array([1, -1])[:, None]
    fields = make_fields(values)  # x ← -x on a square
    shared = {"coordinates": "values", "dictionary": "polynomial", "modes": "all"}
    free = ResDMDSpec(**shared).fit(fields, generator)
    assert free.card()["certificate"] == WITHOUT_MODULUS
    assert free.diagnostics().attrs["certificate"] == WITHOUT_MODULUS
    assert free.diagnostics()["verified"].values.all()
    distances = []
    for constant in (1e-3, 10.0):
        model = ResDMDSpec(modulus={"constant": constant}, **shared).fit(fields, generator)
        widening, distance = model.tensors()["certificate"].tolist()
        assert widening == pytest.approx(constant * distance)
        assert bool(model.diagnostics()["verified"].any()) == (widening <= 0.05)
        assert "widened" in model.card()["certificate"]
        distances.append(distance)
    assert distances[0] == distances[1] > 0
    strict = ResDMDSpec(coordinates="values", dictionary="polynomial", modulus={"constant": 10})
    with pytest.raises(DataError, match=r"no eigenpair is verified: .* of the modulus, the tolerance 0.05"):
        strict.fit(fields, generator)


def test_weights_of_chosen_pairs_enter_the_inner_product(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    rng = np.random.default_rng(3)
    fields = make_fields(rng.normal(size=(1, 300, 2)).cumsum(axis=1) % 3)
    subset = SubsetSpec(sampler={"kind": "lp", "p": 2, "score": "leverage"}, count=80)
    spec = ResDMDSpec(coordinates="values", dictionary="polynomial", modes="all")
    model = spec.fit(fields, generator, subset)
    assert model.card()["training_pairs"] < 120
    whole = spec.fit(fields, generator)
    # An estimate of the same matrices: the leading eigenvalue, of the constant, is exact in both.
    for found in (model, whole):
        assert np.abs(_values(found.diagnostics()) - 1).min() < 1e-9
    assert not torch.equal(model.tensors()["eigen_residuals"], whole.tensors()["eigen_residuals"])


def test_the_spectral_radius_is_that_of_the_map_that_forecasts(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    spec = ResDMDSpec(coordinates="values", dictionary=CUBIC, modes="verified")
    model = spec.fit(make_fields(0.9 ** np.arange(30)[:, None] * _rotation()), generator)
    radius = float(torch.linalg.eigvals(model.tensors()["operator"]).abs().max())
    assert model.card()["spectral_radius"] == pytest.approx(radius)
    assert radius == pytest.approx(1)  # the constant


def test_too_few_pairs_are_refused_because_their_residuals_vanish(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    fields = make_fields(np.random.default_rng(0).normal(size=(1, 12, 4)))
    with pytest.raises(DataError, match="15 observables need 30 training pairs or more, and there are 11"):
        ResDMDSpec(rank=4, dictionary="polynomial").fit(fields, generator)
    problems = list(ResDMDSpec(rank=4, dictionary="polynomial").check(fields.shape_info))
    assert [problem.path for problem in problems] == [("dictionary",)]


def test_the_knee_stands_before_the_rise() -> None:
    residuals = torch.tensor([0.01, 0.9, 0.02, 0.95, 0.03, 0.99], dtype=torch.float64)
    assert knee(residuals) == 3
    assert knee(torch.full((4,), 1e-14, dtype=torch.float64)) == 4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tolerance": 1.0}, "tolerance"),
        ({"grid": {"re": [1, -1, 5]}}, r"re: \[1, -1, 5\] must be \[low, high, count >= 2\]"),
        ({"modulus": {"constant": 0}}, "modulus.constant"),
        ({"spectral_measure": {"kind": "rational", "order": 11}}, "order"),
        ({"mode": "all"}, "mode"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ResDMDSpec.model_validate(options)
