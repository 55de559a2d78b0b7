"""Koopman autoencoders: conventions, exact spectra, what information does, storing, resuming, refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.koopman import AnyKoopman, InfoKAESpec, KoopmanAESpec
from koopcast.koopman.autoencoder import KoopmanAutoencoder, regression
from koopcast.koopman.latent import LatentModel
from koopcast.mapping import Signature
from koopcast.training import Trainer, train
from koopcast.training_spec import TrainingSpec

MakeFields = Callable[..., FieldData]
A = np.array([[0.9, -0.3, 0.0], [0.3, 0.9, 0.1], [0.0, 0.0, 0.7]])
SMALL = {"latent_dim": 6, "encoder": {"kind": "mlp", "hidden": [24]}, "window": 8}


def orbits(samples: int = 12, times: int = 20, matrix: np.ndarray = A) -> np.ndarray:
    states = [np.random.default_rng(0).standard_normal((samples, len(matrix)))]
    for _ in range(times - 1):
        states.append(states[-1] @ matrix.T)
    return np.stack(states, axis=1)


def waves(samples: int = 12, times: int = 24, points: int = 16) -> np.ndarray:
    """Return waves of two harmonics that turn at one speed, with some noise."""
    draws = np.random.default_rng(1)
    phase = 2 * np.pi * draws.random((samples, 1, 1)) + 0.3 * np.arange(times)[:, None]
    x = 2 * np.pi * np.arange(points) / points
    clean = np.cos(x - phase) + 0.5 * np.cos(2 * (x - phase))
    return clean + 0.05 * draws.standard_normal(clean.shape)


def trained(
    spec: KoopmanAESpec | InfoKAESpec, data: FieldData, folder: Path, epochs: int = 4, rate: float = 3e-3
) -> LatentModel:
    options = {"epochs": epochs, "batch_size": 32, "loss": "mse", "schedule": "constant"}
    optimizer = {"kind": "adamw", "learning_rate": rate, "weight_decay": 0.0}
    training = TrainingSpec.model_validate({**options, "optimizer": optimizer})
    model = train(spec, training, data, seed=0, device=torch.device("cpu"), scratch=folder).model
    assert isinstance(model, LatentModel)
    return model


def distance(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(np.sort_complex(values) - np.sort_complex(expected)).max())


def test_the_operator_acts_on_rows() -> None:
    # x' = A x of columns is z' = z Aᵀ of rows; A is not symmetric.
    K = regression(torch.from_numpy(orbits()), 0.0).numpy()
    assert np.abs(K - A.T).max() < 1e-12
    assert np.abs(K - A).max() > 0.1


def test_the_ridge_is_that_of_one_window_however_many_there_are() -> None:
    Z = torch.from_numpy(orbits(samples=1))
    X, Y = Z[0, :-1], Z[0, 1:]
    expected = torch.linalg.solve(X.T @ X + 0.1 * torch.eye(3), X.T @ Y)
    assert torch.allclose(regression(Z, 0.1), expected)
    assert torch.allclose(regression(Z.repeat(5, 1, 1), 0.1), expected)


def test_without_an_encoder_the_operator_of_all_windows_has_the_exact_spectrum() -> None:
    info = FieldsInfo({"u": "1"}, (Axis("x", 3, "index"),), TimeAxis(20, 1.0))
    learned = KoopmanAESpec(latent_dim=3, encoder="identity")
    network = learned.build(Signature.of_dynamics(info, 1), torch.Generator().manual_seed(0))
    aims = KoopmanAESpec(operator="ridge", ridge=0.0).aims()
    exact = KoopmanAutoencoder(
        learned.encoder, learned.ends(Signature.of_dynamics(info, 1)), 1, aims, torch.Generator()
    )
    runs = torch.from_numpy(orbits())[..., None]
    exact.conclude(lambda: iter(runs.split(5)))
    assert distance(exact.eigenpairs()[0], np.linalg.eigvals(A)) < 1e-10
    assert exact.facts()["latent_error"] == pytest.approx(0, abs=1e-12)
    assert torch.equal(network.operator, torch.eye(3))


def test_training_finds_the_spectrum_of_a_linear_system(make_fields: MakeFields, tmp_path: Path) -> None:
    data = make_fields(orbits(samples=40))
    spec = KoopmanAESpec(latent_dim=3, encoder="identity", window=4, normalize_input="none")
    model = trained(spec, data, tmp_path, epochs=20, rate=1e-2)
    values = model.diagnostics()
    found = values["eigenvalue_real"].values + 1j * values["eigenvalue_imag"].values
    assert distance(found, np.linalg.eigvals(A)) < 2e-3
    assert values["eigenvalue_abs"].values.tolist() == sorted(np.abs(found), reverse=True)
    frames = torch.from_numpy(orbits())[:, :1, :, None].float()
    ahead = model.forecast(frames, [1, 3])[:, :, :, 0]
    assert np.abs(ahead.numpy() - orbits()[:, [1, 3]]).max() < 0.03


def test_entropy_raises_and_information_lowers_what_they_should(
    make_fields: MakeFields, tmp_path: Path
) -> None:
    data = make_fields(waves())
    # One neighbour on each side, so that there is something to tell apart.
    neither, entropy, information = (
        trained(
            InfoKAESpec(**SMALL, neighbours=1, alpha=alpha, gamma=gamma), data, tmp_path / f"{alpha}-{gamma}"
        ).card()
        for alpha, gamma in ((0.0, 0.0), (0.0, 0.3), (0.5, 0.0))
    )
    assert entropy["effective_dim"] > 1.3 * neither["effective_dim"]
    assert information["info_nce"] < 0.7 * neither["info_nce"]


def test_without_information_and_entropy_it_is_the_plain_autoencoder(
    make_fields: MakeFields, tmp_path: Path
) -> None:
    data = make_fields(waves())
    plain = trained(KoopmanAESpec(**SMALL, operator="ridge"), data, tmp_path / "plain", epochs=1)
    shaped = trained(InfoKAESpec(**SMALL, alpha=0.0, gamma=0.0), data, tmp_path / "shaped", epochs=1)
    assert all(torch.equal(shaped.tensors()[name], value) for name, value in plain.tensors().items())


def test_gaussian_information_grows_where_it_counts(make_fields: MakeFields, tmp_path: Path) -> None:
    data = make_fields(waves())
    options = {**SMALL, "gamma": 0.0, "mi_estimator": "gaussian", "neighbours": 1}
    without, with_it = (
        trained(InfoKAESpec(**options, alpha=alpha), data, tmp_path / str(alpha)).card()
        for alpha in (0.0, 0.05)
    )
    assert with_it["mi"] > without["mi"] + 1


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "koopman_ae", **SMALL, "history": 2},
        {"kind": "info_kae", **SMALL, "encoder": {"kind": "conv", "hidden": [4, 6]}},
    ],
)
def test_a_model_is_restored_to_the_bit_and_knows_its_noise(
    make_fields: MakeFields, tmp_path: Path, options: dict[str, object]
) -> None:
    spec = TypeAdapter(AnyKoopman).validate_python(options)
    data = make_fields(waves())
    model = trained(spec, data, tmp_path, epochs=1)
    other = spec.restore(data.info, model.tensors())
    frames = data.tensor()[:, : model.history]
    assert torch.equal(model.forecast(frames, [1, 5]), other.forecast(frames, [1, 5]))
    assert other.diagnostics().identical(model.diagnostics())
    factor, runs = model.noise_factor(), data.tensor()
    assert factor is not None
    assert factor.shape[0] == 6
    # Every record but the ends takes part in as many windows as fit; the whole samples say nearly the same.
    Z = model.network.latents(model.features(runs)).double()
    left = (Z[:, 1:] - Z[:, :-1] @ model.network.operator.double()).flatten(0, 1)
    covariance = left.T @ left / len(left)
    assert torch.allclose((factor @ factor.T).double(), covariance, atol=0.2 * float(covariance.abs().max()))


def test_a_training_that_was_killed_ends_with_the_same_tensors(
    make_fields: MakeFields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, spec = make_fields(waves()), InfoKAESpec(**SMALL)
    whole = trained(spec, data, tmp_path / "whole", epochs=3).tensors()
    real, made = Trainer._step, []

    def failing(self: Trainer, batch: object) -> float:
        if len(made) == 9:
            raise KeyboardInterrupt
        made.append(1)
        value = real(self, batch)
        self.state.batch += 1
        self.save()
        self.state.batch -= 1
        return value

    monkeypatch.setattr(Trainer, "_step", failing)
    with pytest.raises(KeyboardInterrupt):
        trained(spec, data, tmp_path / "killed", epochs=3)
    monkeypatch.undo()
    resumed = trained(spec, data, tmp_path / "killed", epochs=3).tensors()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_masked_cells_are_not_read_and_come_back_as_0(make_fields: MakeFields, tmp_path: Path) -> None:
    values = waves()
    mask = np.arange(16) != 4
    model = trained(KoopmanAESpec(**SMALL), make_fields(values, mask=mask), tmp_path, epochs=1)
    frames = torch.from_numpy(values)[:, :1, :, None].float()
    spoilt = frames.clone()
    spoilt[:, :, 4] = 1e6
    assert torch.equal(model.encode(frames), model.encode(spoilt))
    assert bool((model.forecast(frames, [2])[:, :, 4] == 0).all())


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_an_encoder_takes_planes_of_several_variables(kind: str) -> None:
    axes = (Axis("y", 8, periodic=True, length=1.0), Axis("x", 16, length=1.0))
    info = FieldsInfo({"u": "1", "v": "1"}, axes, TimeAxis(20, 1.0))
    spec = KoopmanAESpec(latent_dim=5, encoder=kind, history=2)
    network = spec.build(Signature.of_dynamics(info, 2), torch.Generator().manual_seed(0))
    frames = torch.randn(3, 2, 8, 16, 2, generator=torch.Generator().manual_seed(1))
    assert network.encode(frames).shape == (3, 5)
    assert network(frames).shape == (3, 8, 16, 2)
    if kind == "conv":
        # Four points along the periodic axis are one at the coarsest level: the shift survives it.
        shifted = network.encoder[:-2](frames.movedim(1, -2).flatten(-2).roll(4, 1))
        assert torch.allclose(
            shifted, network.encoder[:-2](frames.movedim(1, -2).flatten(-2)).roll(1, 1), atol=1e-6
        )


def test_identity_decodes_the_newest_frame() -> None:
    info = FieldsInfo({"u": "1", "v": "1"}, (Axis("x", 3, "index"),), TimeAxis(20, 1.0))
    spec = KoopmanAESpec(latent_dim=12, encoder="identity", history=2)
    network = spec.build(Signature.of_dynamics(info, 2), torch.Generator())
    frames: Tensor = torch.arange(12.0).reshape(1, 2, 3, 2)
    assert torch.equal(network.decode(network.encode(frames)), frames[:, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 7}, "7 is below 8, k = 3 neighbours"),
        ({"window": 30, "neighbours": 15}, "30 is below 32"),
        ({"window": 10, "rollout_steps": 10}, "not above rollout_steps 10; raise it to at least 11"),
        ({"mi_estimator": "gaussian", "latent_dim": 65}, "65 is above 64"),
        ({"operator": "learned", "ridge": 0.2}, "a learned operator has none"),
        ({"encoder": "identity"}, "leaves nothing to train"),
        ({"temperature": 0}, "greater than 0"),
        ({"temperature": 11}, "less than or equal to 10"),
        ({"latent_dim": 1}, "greater than or equal to 2"),
        ({"gamma": -0.1}, "greater than or equal to 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InfoKAESpec.model_validate(options)


def test_the_penalty_belongs_to_the_regression_alone() -> None:
    assert InfoKAESpec().penalty == 0.1
    assert KoopmanAESpec(operator="ridge", ridge=0.0).penalty == 0
    stored = KoopmanAESpec().model_dump(mode="json")
    assert KoopmanAESpec.model_validate(stored) == KoopmanAESpec()


def test_what_the_fields_rule_out_is_told_before_training() -> None:
    info = FieldsInfo({"u": "1"}, (Axis("x", 20, length=1.0),), TimeAxis(20, 1.0))
    signature = Signature.of_dynamics(info, 1)

    def problems(**options: object) -> list[str]:
        return [problem.message for problem in KoopmanAESpec.model_validate(options).faults(signature)]

    assert problems() == []
    assert "24 is not 20" in problems(encoder="identity")[0]
    assert "no multiple of 8" in problems(encoder={"kind": "conv", "hidden": [4, 4, 4]})[0]
    assert "use 5" in problems(encoder={"kind": "conv", "kernel": 4})[0]
    unequal = Signature.of_dynamics(FieldsInfo({"u": "1"}, info.axes, TimeAxis(20, "")), 1)
    assert "unequally spaced" in next(iter(KoopmanAESpec().faults(unequal))).message
    assert KoopmanAESpec(history=3).num_frames(signature, 1) == 12
