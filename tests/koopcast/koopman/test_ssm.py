"""State-space models as dynamics: sequences and steps, restarting, learning, storing, refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.koopman import SSMSpec
from koopcast.koopman.latent import LatentModel
from koopcast.koopman.ssm_network import SSMNetwork
from koopcast.mapping import Signature
from koopcast.models import Context
from koopcast.training import train
from koopcast.training_spec import TrainingSpec

MakeFields = Callable[..., FieldData]
SMALL = {"state_dim": 8, "model_dim": 8, "layers": 2, "window": 12, "history": 6, "dt_max": 0.5}
INFO = FieldsInfo({"u": "1"}, (Axis("x", 5, "index"),), TimeAxis(40, 1.0))


def network_of(**options: object) -> SSMNetwork:
    spec = SSMSpec.model_validate({**SMALL, **options})
    network = spec.build(Signature.of_dynamics(INFO, spec.history), torch.Generator().manual_seed(0))
    # A network begins as persistence: draw what it writes.
    torch.nn.init.normal_(network.writer.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    return network.eval()


def frames(times: int, seed: int = 3) -> Tensor:
    return torch.randn(2, times, 5, 1, generator=torch.Generator().manual_seed(seed))


def turning(samples: int = 16, times: int = 40) -> np.ndarray:
    """Return multiples of the cosine of a phase that turns: a frame does not say which way."""
    phase = 2 * np.pi * np.random.default_rng(0).random((samples, 1)) + 0.35 * np.arange(times)
    return np.cos(phase)[..., None] * np.linspace(0.5, 1.5, 5)


@pytest.mark.parametrize("options", [{}, {"variant": "s4", "init": "s4d"}, {"variant": "s4", "init": "dplr"}])
@torch.no_grad()
def test_steps_say_what_the_sequence_says_in_both_modes(options: dict[str, object]) -> None:
    network, run = network_of(**options), frames(12)
    flat = run.flatten(2)
    following = network.sequence(flat, "convolution")
    assert torch.allclose(network.sequence(flat, "recurrent"), following, atol=1e-5)
    for count in (1, 7, 12):
        z = network.step(network.encode(run[:, :count]))
        assert torch.allclose(network.decode(z)[..., 0], following[:, count - 1], atol=1e-5)


@torch.no_grad()
def test_a_model_goes_on_from_its_hidden_state_to_the_bit() -> None:
    network = network_of()
    z = network.encode(frames(6))
    for _ in range(4):
        z = network.step(z)
    stored = z.numpy().tobytes()
    unbroken = network.step(network.step(z))
    restarted = torch.from_numpy(np.frombuffer(stored, np.float32).copy()).reshape(z.shape)
    assert torch.equal(network.step(network.step(restarted)), unbroken)
    # The hidden state matters: without it the same frame has another future.
    rest = z.clone()
    rest[:, 5:] = 0
    assert not torch.allclose(network.decode(network.step(network.step(rest))), network.decode(unbroken))


def test_it_learns_what_one_frame_does_not_tell_and_is_restored_to_the_bit(
    make_fields: MakeFields, tmp_path: Path
) -> None:
    data = make_fields(turning())
    spec = SSMSpec.model_validate(SMALL)
    options = {"epochs": 6, "batch_size": 32, "loss": "mse", "schedule": "constant"}
    training = TrainingSpec.model_validate({**options, "optimizer": {"kind": "adamw", "learning_rate": 1e-2}})
    model = train(spec, training, data, seed=0, device=torch.device("cpu"), scratch=tmp_path).model
    assert isinstance(model, LatentModel)
    start = torch.from_numpy(turning())[:, :12, :, None].float()
    truth = torch.from_numpy(turning())[:, [12, 14], :, None].float()
    ahead = model.forecast(start, [1, 3])
    persistence = (start[:, -1:] - truth).square().mean().sqrt()
    assert float((ahead - truth).square().mean().sqrt()) < 0.3 * float(persistence)
    other = spec.restore(data.info, model.tensors())
    assert torch.equal(other.forecast(start, [1, 3]), ahead)
    noise = other.noise_std()
    assert noise is not None
    assert noise.shape == (other.encode(start).shape[1],)
    assert bool((noise[:5] > 0).all())
    assert float(noise[5:].abs().max()) == 0
    assert other.card()["hidden_numbers"] == other.encode(start).shape[1] - 5


def test_a_rollout_is_the_forecast_of_use_from_the_end_of_the_window(
    make_fields: MakeFields, tmp_path: Path
) -> None:
    data = make_fields(turning())
    training = TrainingSpec.model_validate({"epochs": 1, "batch_size": 64, "loss": "mse"})
    options = {**SMALL, "rollout_steps": 3}
    spec = SSMSpec.model_validate(options)
    assert spec.num_frames(Signature.of_dynamics(data.info, 6), 1) == 15
    model = train(spec, training, data, seed=0, device=torch.device("cpu"), scratch=tmp_path).model
    assert isinstance(model, LatentModel)
    network, run = model.network, data.tensor()[:, :15]

    def mse(one: Tensor, other: Tensor, given: Tensor | None = None) -> Tensor:
        return (one - other).square().mean()

    context = Context(1, False, 0.0, torch.Generator(), True)
    found = network.objective(run, model, mse, context)
    plain = SSMSpec.model_validate(SMALL).restore(data.info, model.tensors())
    alone = plain.network.objective(run[:, :13], plain, mse, context)
    # Records 6 to 11 make the state; 12, 13 and 14 are forecast from it.
    ahead = mse(model.forecast(run[:, 6:12], [1, 2, 3]), run[:, 12:])
    torch.testing.assert_close(found, alone + ahead)
    assert float(ahead) > 0


def test_a_stored_model_needs_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SSMSpec.model_validate(SMALL)
    network = spec.build(Signature.of_dynamics(INFO, 6), torch.Generator().manual_seed(0))
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}

    def refuse(*_: object) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr("koopcast.koopman.ssm_network.perturbed", refuse)
    blank = spec.blank(Signature.of_dynamics(INFO, 6), tensors)
    blank.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(blank(frames(6)), network(frames(6)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "s4"}, "'s5_ptd' is not of variant 's4' \\(known: dplr, s4d, s4_ptd\\)"),
        ({"dt_min": 0.1, "dt_max": 0.1}, "0.1 is not below dt_max 0.1"),
        ({"init": "s5", "perturbation": {"gamma": 2.0}}, "'s5' perturbs nothing"),
        ({"variant": "s4", "init": "dplr", "state_dim": 130}, "130 is above 128"),
        ({"state_dim": 7}, "multiple of 2"),
        ({"layers": 13}, "less than or equal to 12"),
        ({"perturbation": {"relative": 0.0}}, "greater than 0"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SSMSpec.model_validate(options)


def test_windows_shorter_than_the_past_of_a_forecast_are_refused() -> None:
    problems = list(SSMSpec(window=8).faults(Signature.of_dynamics(INFO, 16)))
    assert [problem.path for problem in problems] == [("window",)]
    assert "8 is below history 16" in problems[0].message


def test_a_random_perturbation_that_makes_the_model_grow_is_told_before_training() -> None:
    spec = SSMSpec(perturbation={"optimise": False})
    problems = list(spec.faults(Signature.of_dynamics(INFO, 16)))
    assert [problem.path for problem in problems] == [("perturbation",)]
    assert "set optimise: true" in problems[0].message
