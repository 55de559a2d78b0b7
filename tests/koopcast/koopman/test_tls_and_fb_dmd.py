from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import linalg

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import DMDSpec, FBDMDSpec, TLSDMDSpec
from koopcast.koopman.base import LatentSpec

MakeFields = Callable[..., FieldData]
EIGENVALUE = np.exp(-0.01 + 0.4j)
PLAIN = {"center": False, "rank": 2}


def _oscillator(times: int = 100) -> np.ndarray:
    values = EIGENVALUE ** np.arange(times)
    return np.stack([values.real, values.imag], axis=1)


def _upper_eigenvalue(spec: LatentSpec, fields: FieldData) -> complex:
    diagnostics = spec.fit(fields, torch.Generator().manual_seed(0)).diagnostics()
    values = diagnostics["eigenvalue_real"].values + 1j * diagnostics["eigenvalue_imag"].values
    return complex(values[values.imag > 0][0])


@pytest.mark.parametrize("spec", [TLSDMDSpec(**PLAIN), FBDMDSpec(**PLAIN)])
def test_without_noise_the_eigenvalue_of_a_damped_oscillator_is_exact(
    make_fields: MakeFields, spec: LatentSpec
) -> None:
    patterns = np.random.default_rng(0).normal(size=(2, 30))
    found = _upper_eigenvalue(spec, make_fields((_oscillator() @ patterns)[None]))
    assert abs(found - EIGENVALUE) < 1e-12


def test_noise_draws_least_squares_inwards_and_neither_of_the_others(make_fields: MakeFields) -> None:
    errors: dict[str, list[complex]] = {"dmd": [], "tls_dmd": [], "fb_dmd": []}
    for seed in range(30):
        noise = 0.1 * np.random.default_rng(seed).normal(size=(100, 2))
        fields = make_fields((_oscillator() + noise)[None])
        for spec in (DMDSpec(ridge=0.0, **PLAIN), TLSDMDSpec(**PLAIN), FBDMDSpec(**PLAIN)):
            errors[spec.kind].append(_upper_eigenvalue(spec, fields) - EIGENVALUE)
    bias = {kind: abs(np.mean(values)) for kind, values in errors.items()}
    # To first order least squares shrinks λ by var(noise) / mean square of a coordinate.
    expected = 0.01 / np.mean(_oscillator()[:-1] ** 2)
    assert bias["dmd"] == pytest.approx(expected, rel=0.1)
    for kind in ("tls_dmd", "fb_dmd"):
        standard_error = np.std(errors[kind]) / 30**0.5
        assert bias[kind] < 3 * standard_error
        assert bias[kind] < 0.1 * bias["dmd"]


def test_total_least_squares_of_one_cell_is_the_slope_of_the_principal_axis(make_fields: MakeFields) -> None:
    rng = np.random.default_rng(4)
    x = np.cumsum(rng.normal(size=(3, 40)), axis=1)
    model = TLSDMDSpec(center=False, rank=1).fit(make_fields(x[..., None]), torch.Generator())
    a, b = x[:, :-1].ravel(), x[:, 1:].ravel()
    # The axis of the cloud (a, b): tan 2θ = 2 Σab / (Σa² - Σb²).
    slope = np.tan(0.5 * np.arctan2(2 * a @ b, a @ a - b @ b))
    assert float(model.tensors()["operator"]) == pytest.approx(slope, rel=1e-12)


def test_the_mean_of_forward_and_backward_maps_is_the_root_of_their_quotient_where_they_commute(
    make_fields: MakeFields,
) -> None:
    rng = np.random.default_rng(5)
    # Isotropic states, and noise that turns with them: both maps are scaled rotations, which commute.
    x = rng.normal(size=(2000, 1, 2))
    turn = np.array([[0.8, -0.5], [0.5, 0.8]])
    y = x @ turn.T + 0.3 * rng.normal(size=x.shape)
    values = np.concatenate([x, y], axis=1)
    model = FBDMDSpec(**PLAIN).fit(make_fields(values), torch.Generator())
    z = model.encode(torch.from_numpy(values[:, :1, :, None])).numpy()
    w = model.encode(torch.from_numpy(values[:, 1:, :, None])).numpy()
    forward, backward = (np.linalg.lstsq(a, b, rcond=None)[0].T for a, b in ((z, w), (w, z)))
    expected = linalg.sqrtm(forward @ np.linalg.inv(backward)).real
    assert np.allclose(model.tensors()["operator"], expected, atol=2e-3)


def test_maps_that_cannot_be_reversed_are_refused(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    wide = make_fields(np.random.default_rng(0).normal(size=(1, 6, 12)))
    for spec in (TLSDMDSpec(rank=5), FBDMDSpec(rank=5)):
        spec.fit(wide, generator)
    gone = np.zeros((40, 2, 2))
    gone[:, 0] = np.random.default_rng(0).normal(size=(40, 2))
    gone[:, 1, 0] = gone[:, 0, 0]
    with pytest.raises(DataError, match=r"do not undo one another.*lower `rank`, or use tls_dmd"):
        FBDMDSpec(**PLAIN).fit(make_fields(gone), generator)
