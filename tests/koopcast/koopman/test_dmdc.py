from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from koopcast.errors import DataError, NotFinite
from koopcast.fields import FieldData
from koopcast.grids import TimeAxis
from koopcast.koopman import DMDcSpec, DMDSpec

MakeFields = Callable[..., FieldData]
EXACT = {"inputs": ("u1",), "center": False, "rank": None, "ridge": 0.0}
A = np.array([[0.9, -0.3, 0.0], [0.3, 0.9, 0.1], [0.0, 0.0, 0.7]])
B = np.array([0.5, -1.0, 0.3])


def _driven(samples: int = 3, times: int = 30, seed: int = 0) -> np.ndarray:
    """Return x ← A x + B v, with v another variable that has the same value in each cell."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(samples, times))
    x = [rng.normal(size=(samples, 3))]
    for time in range(times - 1):
        x.append(x[-1] @ A.T + v[:, time, None] * B)
    states = np.stack(x, axis=1)
    return np.stack([states, np.broadcast_to(v[..., None], states.shape)], axis=-1)


def test_the_spectrum_is_that_of_the_system_without_its_inputs(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    model = DMDcSpec(**EXACT).fit(make_fields(_driven()), generator)
    diagnostics = model.diagnostics()
    found = (diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values
    assert np.allclose(np.sort_complex(found), np.sort_complex(np.linalg.eigvals(A)), atol=1e-10)
    assert float(diagnostics["residual"].max()) < 1e-9
    assert not diagnostics["mode_field"].sel(channel="u1").any()
    # Taken as a system of its own, the same frames have another spectrum.
    plain = DMDSpec(center=False, rank=3, ridge=0.0).fit(make_fields(_driven()[..., :1]), generator)
    other = (plain.diagnostics()["eigenvalue_real"] + 1j * plain.diagnostics()["eigenvalue_imag"]).values
    assert np.abs(np.sort_complex(other) - np.sort_complex(np.linalg.eigvals(A))).max() > 0.01


def test_a_forecast_holds_the_last_input(make_fields: MakeFields, generator: torch.Generator) -> None:
    model = DMDcSpec(**EXACT).fit(make_fields(_driven()), generator)
    start = _driven(seed=5)[:2, 4]
    x, v = start[:, :, 0], start[:, :1, 1]
    for _ in range(6):
        x = x @ A.T + v * B
    ahead = model.forecast(torch.from_numpy(start)[:, None], [6])[:, 0].numpy()
    assert np.allclose(ahead[..., 0], x, atol=1e-9)
    assert np.allclose(ahead[..., 1], start[..., 1], atol=1e-12)
    assert not model.noise_factor()[3:].any()


def test_several_inputs_of_many_cells_have_directions_of_their_own(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    rng = np.random.default_rng(3)
    v, w = rng.normal(size=(2, 4, 25, 3))
    x = [rng.normal(size=(4, 3))]
    for time in range(24):
        x.append(x[-1] @ A.T + 0.4 * v[:, time] - 0.2 * w[:, time, ::-1])
    fields = make_fields(np.stack([v, np.stack(x, axis=1), w], axis=-1))
    model = DMDcSpec(inputs=("u2", "u0"), center=False, rank=None, ridge=0.0).fit(fields, generator)
    assert model.tensors()["operator"].shape == (9, 9)
    frames = fields.tensor(dtype=torch.float64)
    ahead = model.forecast(frames[:, 7:8], [1])[:, 0]
    assert torch.allclose(ahead[..., 1], frames[:, 8, :, 1], atol=1e-9)
    assert torch.allclose(ahead[..., [0, 2]], frames[:, 7][..., [0, 2]], atol=1e-12)


def test_delays_stack_the_states_and_not_the_inputs(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    rng = np.random.default_rng(1)
    signal = np.cos(0.4 * np.arange(60))
    v = rng.normal(size=60)
    x = np.zeros(60)
    x[:2] = signal[:2]
    for time in range(1, 59):
        x[time + 1] = 1.8 * x[time] - 0.9 * x[time - 1] + 0.5 * v[time]
    fields = make_fields(np.stack([x, v], axis=-1)[None, :, None])
    model = DMDcSpec(delays=2, **EXACT).fit(fields, generator)
    assert model.tensors()["operator"].shape == (3, 3)
    frames = torch.from_numpy(np.stack([x, v], axis=-1))[None, 20:22, None]
    assert float(model.forecast(frames, [1])[0, 0, 0, 0]) == pytest.approx(x[22], abs=1e-9)


def test_names_that_are_no_inputs_are_refused(make_fields: MakeFields, generator: torch.Generator) -> None:
    fields = make_fields(_driven())
    cases = {
        ("w",): r"'w' is no variable of the data \(variables: u0, u1\)",
        ("u0", "u1"): "none is left to forecast",
        ("u1", "u1"): "holds a name twice",
    }
    for inputs, message in cases.items():
        with pytest.raises(DataError, match=message):
            DMDcSpec(inputs=inputs).fit(fields, generator)
        (problem,) = DMDcSpec(inputs=inputs).check(fields.info)
        assert problem.path == ("inputs",)
    still = _driven()
    still[..., 1] = 3.0
    with pytest.raises(DataError, match="inputs u1: the training fields do not vary"):
        DMDcSpec(inputs=("u1",)).fit(make_fields(still), generator)


def test_a_restored_model_is_the_same_to_the_bit(make_fields: MakeFields, generator: torch.Generator) -> None:
    fields, spec = make_fields(_driven()), DMDcSpec(inputs=("u1",), rank=2, delays=2)
    model = spec.fit(fields, generator)
    again = spec.restore(fields.info, {name: tensor.clone() for name, tensor in model.tensors().items()})
    frames = fields.tensor(dtype=torch.float64)[:, :2]
    assert torch.equal(again.forecast(frames, [1, 5]), model.forecast(frames, [1, 5]))
    assert again.diagnostics().identical(model.diagnostics())


def test_bad_fields_get_the_treatment_of_every_koopman_model(
    make_fields: MakeFields, generator: torch.Generator
) -> None:
    spec = DMDcSpec(inputs=("u1",), center=False, ridge=0.0, rank=None)
    values = _driven()
    holed = values.copy()
    holed[1, 4, 2, 1] = np.nan
    with pytest.raises(NotFinite):
        spec.fit(make_fields(holed), generator)
    with pytest.raises(DataError, match="hold no pair"):
        spec.fit(make_fields(values[:, :1]), generator)
    fields = make_fields(values)
    with pytest.raises(DataError, match="unequally spaced"):
        spec.fit(replace(fields, info=replace(fields.info, time=TimeAxis(30, ""))), generator)
    # A missing time breaks the chain of pairs, of inputs and states alike.
    mask = np.ones((30, 3), dtype=bool)
    mask[11] = False
    holed = values.copy()
    holed[:, 11] = np.nan
    model = spec.fit(make_fields(holed, mask=mask), generator)
    assert model.card()["training_pairs"] == 3 * 27
    found = model.diagnostics()
    spectrum = np.sort_complex((found["eigenvalue_real"] + 1j * found["eigenvalue_imag"]).values)
    assert np.allclose(spectrum, np.sort_complex(np.linalg.eigvals(A)), atol=1e-10)
    # A constant cell stays as it is.
    still = np.concatenate([values, np.full((3, 30, 1, 2), 2.0)], axis=2)
    still[:, :, 3, 1] = values[:, :, 0, 1]
    centred = DMDcSpec(inputs=("u1",), ridge=0.0, rank=None).fit(make_fields(still), generator)
    frames = torch.from_numpy(still[:, 3:4])
    assert torch.allclose(centred.forecast(frames, [5])[:, 0, 3, 0], torch.tensor(2.0, dtype=torch.float64))
