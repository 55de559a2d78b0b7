"""Eigenfunctions at the records of a dataset: a rotation, whose own are known."""

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.koopman import DMDSpec, EDMDSpec, KernelEDMDSpec, KoopmanAESpec, ResDMDSpec
from koopcast.koopman.certificates import WITHOUT_MODULUS
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import Signature
from koopcast.metrics import KoopmanCertificateSpec, RMSESpec
from koopcast.stores.arrays import open_fields, write_fields
from koopcast.verification import eigenfunctions, evaluate

ANGLE, SAMPLES, TIMES, TRAIN = 0.7, 12, 30, 20
THETA = 2 * np.pi * np.arange(SAMPLES)[:, None] / SAMPLES + ANGLE * np.arange(TIMES)
CUBIC = {"kind": "polynomial", "degree": 3}
SHARED = {"coordinates": "values", "modes": "all"}
MODELS = {
    "dmd": DMDSpec(rank=2, center=False, ridge=0.0),
    "delays": EDMDSpec(rank=2, delays=2, center=False, ridge=0.0),
    "resdmd": ResDMDSpec(dictionary=CUBIC, **SHARED),
    "kernel": KernelEDMDSpec(
        kernel={"kind": "polynomial", "degree": 3}, functions=7, centers=40, residual="data", **SHARED
    ),
}


def _data(values: np.ndarray | None = None) -> FieldData:
    values = np.stack([np.cos(THETA), np.sin(THETA)], axis=-1) if values is None else values
    dataset = xr.Dataset(
        {"u": (("sample", "time", "x"), values)}, coords={"time": np.arange(float(values.shape[1]))}
    )
    parts = {
        "train": Window((0, len(values)), (0, TRAIN)),
        "test": Window((0, len(values)), (TRAIN, values.shape[1])),
    }
    axes = (Axis("x", values.shape[2], "index"),)
    return FieldData(dataset, FieldsInfo({"u": "1"}, axes, TimeAxis(TIMES, 1.0), len(values), parts))


def _fitted(name: str, data: FieldData) -> Dynamics:
    return MODELS[name].fit(data.part("train"), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MODELS)
def test_an_eigenfunction_is_multiplied_by_its_eigenvalue_at_each_record(name: str) -> None:
    data = _data()
    model = _fitted(name, data)
    found = eigenfunctions(model, data)
    phi, value = found["eigenfunction"].values, found["eigenvalue"].values
    assert phi.shape == (SAMPLES, TIMES, len(value))
    # The state of two records ends at the second one.
    assert np.isnan(phi[:, : model.history - 1]).all()
    phi = phi[:, model.history - 1 :]
    own = np.abs(np.abs(value) - 1) < 1e-6
    assert own.sum() >= 2
    assert np.allclose(phi[:, 1:, own], value[own] * phi[:, :-1, own], atol=1e-6)
    # e^{ikθ}, up to a phase: of the same size everywhere, 1 by the scaling.
    assert np.allclose(np.abs(phi[..., own]), 1, atol=1e-5)
    assert (found["data_residual"].values[own] < 1e-6).all()
    assert found.attrs["certificate"] == WITHOUT_MODULUS
    assert found.sizes["latent"] == model.tensors()["operator"].shape[0]


def test_eigenfunctions_times_mode_fields_add_up_to_the_fields() -> None:
    rng = np.random.default_rng(0)
    A = np.array([[0.9, 0.3, 0.0], [-0.3, 0.9, 0.1], [0.0, 0.0, 0.7]])
    states = [rng.normal(size=(SAMPLES, 3))]
    for _ in range(TIMES - 1):
        states.append(states[-1] @ A.T)
    data = _data(np.stack(states, axis=1))
    model = DMDSpec(rank=3, center=False, ridge=0.0).fit(data.part("train"), torch.Generator())
    found, fields = eigenfunctions(model, data.part("test")), model.diagnostics()
    modes = (fields["mode_field"] + 1j * fields["mode_field_imag"]).values
    sums = found["eigenfunction"].values @ modes
    # Mode fields are stored in single precision.
    assert np.allclose(sums, data.part("test").tensor(dtype=torch.float64)[..., 0], rtol=1e-5, atol=1e-7)
    assert found.sizes["time"] == TIMES - TRAIN


def test_residuals_over_other_data_expose_a_pair_that_only_the_training_part_has() -> None:
    # The rotation turns into a doubling of angles after the training part.
    theta = THETA.copy()
    for time in range(TRAIN, TIMES):
        theta[:, time] = 2 * theta[:, time - 1]
    data = _data(np.stack([np.cos(theta), np.sin(theta)], axis=-1))
    model = _fitted("resdmd", data)
    found = eigenfunctions(model, data.part("test"))
    false = np.abs(found["eigenvalue"].values - 1) > 1e-6
    assert (found["residual"].values < 1e-6).all()
    assert (found["data_residual"].values[false] > 1).all()
    certificate = KoopmanCertificateSpec()
    for part, number in (("train", 7), ("test", 1)):
        scores = evaluate({"m": model}, data.part(part), [], [1], [certificate, RMSESpec()])
        assert scores.scores()["koopman_certificate"]["m"]["all"] == number
        assert scores.curves["certificate"].item() == WITHOUT_MODULUS


def test_a_modulus_travels_from_the_model_to_the_certificate() -> None:
    data = _data()
    spec = ResDMDSpec(dictionary=CUBIC, modulus={"constant": 2.0}, **SHARED)
    model = spec.fit(data.part("train"), torch.Generator().manual_seed(0))
    models = {"m": model, "free": _fitted("resdmd", data)}
    result = evaluate(models, data.part("test"), [], [1], [KoopmanCertificateSpec()])
    widening = result.scores()["koopman_certificate.widening"]["m"]["all"]
    assert widening == model.tensors()["certificate"][0] > 0.05
    assert result.scores()["koopman_certificate"]["m"]["all"] == 0
    words = result.curves["certificate"].sel(subject="m").values.ravel().tolist()
    assert words == [eigenfunctions(model, data).attrs["certificate"]]
    assert result.curves["certificate"].sel(subject="free").values.ravel().tolist() == [WITHOUT_MODULUS]
    assert "widened" in eigenfunctions(model, data).attrs["certificate"]


def test_an_autoencoder_has_the_eigenfunctions_of_its_operator() -> None:
    data = _data()
    spec, signature = KoopmanAESpec(latent_dim=4, window=8), Signature.of_dynamics(data.info, 1)
    network = spec.build(signature, torch.Generator().manual_seed(1))
    K = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    network.operator.data.copy_(K)
    moments = Moments(2, *torch.tensor([[0.0], [2.0]], dtype=torch.float64))
    model = spec.assemble(
        network, data.info, signature, FieldStatistics(torch.ones(2, dtype=bool), moments, moments)
    )
    model = model.finished(torch.ones(1), {})
    found = eigenfunctions(model, data)
    value, latent = found["eigenvalue"].values, torch.from_numpy(found["latent"].values)
    z = latent.flatten(0, 1)
    phi, ahead = (model.network.eigenfunctions(u).numpy() for u in (z, model.step(z)))
    assert np.allclose(phi, found["eigenfunction"].values.reshape(phi.shape))
    assert np.allclose(ahead, value * phi, atol=1e-4)
    assert "residual" not in found.coords


def test_they_are_kept_by_a_store_as_they_are(tmp_path) -> None:
    found = eigenfunctions(_fitted("resdmd", _data()), _data().part("test"))
    write_fields(tmp_path / "values.zarr", found, group="m")
    opened = open_fields(tmp_path / "values.zarr", group="m")
    xr.testing.assert_identical(opened, found)
    assert xr.open_zarr(tmp_path / "values.zarr", group="m", consolidated=False)["eigenvalue"].dims == (
        "mode",
    )


def test_systems_have_none_and_too_short_a_window_is_refused() -> None:
    class Still(Dynamics):
        def step(self, state):
            return state

    assert eigenfunctions(Still(), _data()) is None
    short = FieldData(_data().dataset, _data().info, Window((0, SAMPLES), (0, 1)))
    with pytest.raises(EmptySelection, match=r"no state of 2 records ends in the window \(0, 1\)"):
        eigenfunctions(_fitted("delays", _data()), short)
