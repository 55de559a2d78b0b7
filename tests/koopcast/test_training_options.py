"""What each option of a training does to the weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from koopcast import progress
from koopcast.errors import OutOfMemory
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.mapping import MappingSpec
from koopcast.models import Context
from koopcast.operators import FNOSpec, OperatorDynamics, OperatorMap
from koopcast.rng import torch_generator
from koopcast.training import TrainedResult, Trainer, TrainingSpec, TrainingTask, train

CPU = torch.device("cpu")
TINY = FNOSpec(width=4, layers=1, modes=6)
POINTS = 16


def data(samples: int = 6, times: int = 6) -> FieldData:
    """A wave that moves, and its square."""
    generator = np.random.default_rng(1)
    phase = generator.uniform(0, 2 * math.pi, samples)[:, None, None]
    place = 2 * math.pi * np.arange(POINTS) / POINTS
    u = 5 + np.sin(place - 0.4 * np.arange(times)[:, None] + phase)
    dims = ("sample", "time", "x")
    dataset = xr.Dataset({"u": (dims, u), "w": (dims, u**2)}, coords={"time": np.arange(times)})
    parts = {
        "train": Window((0, samples - 2), (0, times)),
        "valid": Window((samples - 2, samples), (0, times)),
    }
    axes = (Axis("x", POINTS, periodic=True, length=1.0),)
    info = FieldsInfo({"u": "1", "w": "1"}, axes, TimeAxis(times, 1.0), samples=samples, parts=parts)
    return FieldData(dataset, info)


def trained(
    scratch: Path, mapping: MappingSpec | None = None, spec: FNOSpec = TINY, **options: object
) -> TrainedResult:
    training = TrainingSpec.model_validate({"epochs": 3, "batch_size": 8, **options})
    return train(spec, training, data(), seed=0, device=CPU, scratch=scratch, mapping=mapping)


def weights(result: TrainedResult) -> Tensor:
    return torch.cat([value.flatten() for name, value in sorted(result.model.network.state_dict().items())])


def test_a_map_between_variables_is_learned_and_predicts_in_physical_units(tmp_path: Path) -> None:
    mapping = MappingSpec(inputs=("u",), outputs=("w",), starts="any")
    spec = FNOSpec(width=8, layers=2, modes=8)
    result = trained(tmp_path, mapping, spec, epochs=60, schedule="constant")
    model = result.model
    assert isinstance(model, OperatorMap)
    run = data().part("valid").tensor().flatten(0, 1)[:, None]
    error = (model.predict(run[..., :1]) - run[..., 1:]).square().mean().sqrt()
    assert error < 0.1 * run[..., 1].std()
    restored = spec.restore(data().info, model.tensors(), mapping)
    assert isinstance(restored, OperatorMap)
    assert torch.equal(restored.predict(run[..., :1]), model.predict(run[..., :1]))


def test_a_map_along_trajectories_returns_all_its_records_at_once(tmp_path: Path) -> None:
    mapping = MappingSpec(given=2, predicted=4, inputs=("u",), outputs=("u", "w"))
    result = trained(tmp_path, mapping)
    model = result.model
    assert isinstance(model, OperatorMap)
    assert model.predict(torch.zeros(3, 2, POINTS, 1)).shape == (3, 4, POINTS, 2)
    assert model.error_std is not None
    assert model.error_std.shape == (2,)


def test_the_mean_of_the_weights_is_what_is_kept(tmp_path: Path) -> None:
    trainer = Trainer(
        TrainingTask(TINY, TrainingSpec(epochs=1, batch_size=8, ema=0.5, keep="last"), data()),
        seed=0,
        device=CPU,
        scratch=tmp_path,
    )
    seen = [trainer._weights()]
    step = trainer._step

    def watched(*batch: object) -> float:
        value = step(*batch)
        seen.append(trainer._weights())
        return value

    trainer._step = watched
    trainer.run()
    name = "lift.first.weight"
    expected = seen[0][name]
    for later in seen[1:]:
        expected = 0.5 * expected + 0.5 * later[name]
    assert len(seen) > 2
    assert torch.allclose(trainer.result().model.network.state_dict()[name], expected, atol=1e-6)


def test_the_last_weights_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    options = {"schedule": "constant", "optimizer": {"kind": "adamw", "learning_rate": 0.3}, "epochs": 6}
    best = trained(tmp_path / "best", **options)
    last = trained(tmp_path / "last", keep="last", **options)
    assert best.model.card()["best_epoch"] < 6
    assert last.model.card()["best_epoch"] == 6
    assert not torch.equal(weights(best), weights(last))


def dynamics() -> tuple[OperatorDynamics, Tensor]:
    model = Trainer(
        TrainingTask(TINY, TrainingSpec(rollout=3), data()), seed=0, device=CPU, scratch=Path("/nowhere")
    ).model
    assert isinstance(model, OperatorDynamics)
    return model, data().tensor()[:, :4]


def gradient(push_forward: bool) -> Tensor:
    model, run = dynamics()
    context = Context(3, push_forward, 0.0, torch_generator(0), is_training=True)

    def compare(prediction: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
        return (prediction - target).square().mean()

    model.loss(run, compare, context).backward()
    return model.network.lift.first.weight.grad


def test_push_forward_lets_gradients_flow_through_the_last_step_alone() -> None:
    model, run = dynamics()
    with torch.no_grad():
        known = run[:, :1]
        for _ in range(2):
            known = model.advance(known)[:, None]
    (model.advance(known) - run[:, 3]).square().mean().backward()
    assert torch.allclose(gradient(True), model.network.lift.first.weight.grad, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(gradient(False), gradient(True), rtol=1e-2)


def test_a_curriculum_lengthens_the_rollout_in_equal_shares() -> None:
    training = TrainingSpec(epochs=8, rollout=4, curriculum=True)
    assert [training.rollout_at(epoch) for epoch in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert TrainingSpec(epochs=8, rollout=4).rollout_at(0) == 4


def test_half_precision_ends_near_full_precision_and_keeps_full_weights(tmp_path: Path) -> None:
    full = trained(tmp_path / "full", epochs=5)
    half = trained(tmp_path / "half", epochs=5, precision="bfloat16")
    assert weights(half).dtype == torch.float32
    losses = [result.history["valid_loss"].iloc[-1] for result in (full, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert not torch.equal(weights(full), weights(half))


class Small(nn.Module):
    """A network on a device that holds a few members at a time."""

    def __init__(self, network: nn.Module, room: int) -> None:
        super().__init__()
        self.inner, self.room = network, room

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        return self.inner(x)


def with_room(scratch: Path, room: int, micro_batch: int) -> tuple[Tensor, list[str]]:
    training = TrainingSpec(epochs=2, batch_size=8, micro_batch=micro_batch, noise=0.1)
    trainer = Trainer(TrainingTask(TINY, training, data()), seed=0, device=CPU, scratch=scratch)
    network = Small(trainer.model.network, room)
    for model in trainer.stepper.models:
        model.network = network
    trainer.model.network = trainer.stepper.network = network
    trainer.best = trainer._weights()
    notes: list[str] = []
    with progress.listening(lambda report: notes.append(report.note)):
        trainer.run()
    return weights(trainer.result()), [note for note in notes if note]


def test_a_batch_that_does_not_fit_is_halved_and_the_step_stays_the_same(tmp_path: Path) -> None:
    small, notes = with_room(tmp_path / "small", room=3, micro_batch=8)
    pieces, silence = with_room(tmp_path / "pieces", room=8, micro_batch=2)
    assert torch.equal(small, pieces)
    assert silence == []
    assert [note.split("; ")[0] for note in notes] == [
        "the device ran out of memory at 8 runs at once",
        "the device ran out of memory at 4 runs at once",
    ]
    with pytest.raises(OutOfMemory, match="one run of this model"):
        with_room(tmp_path / "none", room=0, micro_batch=8)


def test_training_on_two_grids_serves_both(tmp_path: Path) -> None:
    options = {"multi_resolution": {"grids": [16, 8], "batch_sizes": [8, 8]}, "epochs": 8}
    spec = FNOSpec(width=6, layers=1, modes=4)
    result = trained(tmp_path, None, spec, **options)
    model = result.model
    assert isinstance(model, OperatorDynamics)
    assert result.history["train_loss"].iloc[-1] < 0.5 * result.history["train_loss"].iloc[0]
    coarse = model.on((Axis("x", 8, periodic=True, length=1.0),))
    run = data().part("valid").tensor()[:, :2]
    error = coarse.error(run[:, :, ::2]).square().mean().sqrt()
    assert error < 2 * model.error(run).square().mean().sqrt() + 1e-3
