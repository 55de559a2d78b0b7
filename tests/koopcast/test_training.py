"""Training: learns, stops, diverges clearly, and survives any kill without a changed bit."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast import progress
from koopcast.errors import Diverged, EmptySelection, NotFinite
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.operators import FNOSpec, OperatorDynamics
from koopcast.subsets import SubsetSpec
from koopcast.training import TrainedResult, Trainer, TrainingSpec, TrainingTask, runs_at_once, train

CPU = torch.device("cpu")
POINTS = 16
TINY = FNOSpec(width=4, layers=1, modes=6)


def waves(
    samples: int,
    times: int,
    factor: Callable[[np.ndarray], np.ndarray],
    *,
    parts: dict[str, Window] | None = None,
) -> FieldData:
    """Four random waves whose complex amplitudes are multiplied by `factor(k)` a step: exact solutions."""
    generator = np.random.default_rng(4)
    wave = np.arange(1, 5)
    amplitude = generator.standard_normal((samples, 4)) + 1j * generator.standard_normal((samples, 4))
    place = np.exp(2j * math.pi * np.outer(wave, np.arange(POINTS)) / POINTS)
    values = np.stack([((amplitude * factor(wave) ** time) @ place).real for time in range(times)], axis=1)
    dataset = xr.Dataset({"u": (("sample", "time", "x"), 280 + values)}, coords={"time": np.arange(times)})
    axis = Axis("x", POINTS, periodic=True, length=1.0)
    info = FieldsInfo({"u": "K"}, (axis,), TimeAxis(times, 1.0), samples=samples, parts=parts or {})
    return FieldData(dataset, info)


def advection(samples: int = 6, times: int = 9, *, split: bool = True) -> FieldData:
    parts = {
        "train": Window((0, samples - 2), (0, times)),
        "valid": Window((samples - 2, samples), (0, times)),
    }
    return waves(samples, times, lambda wave: np.exp(-0.4j * wave), parts=parts if split else None)


def weights(result: TrainedResult) -> dict[str, torch.Tensor]:
    return result.model.tensors()


def assert_same(first: TrainedResult, second: TrainedResult) -> None:
    left, right = weights(first), weights(second)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    columns = ["epoch", "train_loss", "valid_loss", "learning_rate"]
    assert first.history[columns].equals(second.history[columns])


@pytest.mark.parametrize(
    "factor",
    [lambda wave: np.exp(-0.4j * wave), lambda wave: np.exp(-0.05 * wave**2)],
    ids=["advection", "heat"],
)
def test_learns_a_linear_equation(factor: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    parts = {"train": Window((0, 24), (0, 6)), "valid": Window((24, 32), (0, 6))}
    data = waves(32, 6, factor, parts=parts)
    spec = FNOSpec(width=12, layers=2, modes=10 - 2)
    training = TrainingSpec(epochs=30, batch_size=8, loss="mse", checkpoint_minutes=60)
    result = train(spec, training, data, seed=0, device=CPU, scratch=tmp_path)
    assert result.history["valid_loss"].iloc[-1] < 2e-3 * result.history["valid_loss"].iloc[0]
    error = result.model.noise_std()
    spread = data.tensor().std()
    assert error is not None
    assert float(error[0]) < 0.03 * float(spread)


def test_overfits_a_single_pair(tmp_path: Path) -> None:
    data = waves(1, 2, lambda wave: np.exp(-0.4j * wave))
    training = TrainingSpec(epochs=150, schedule="constant", loss="mse")
    result = train(FNOSpec(width=8, layers=2, modes=8), training, data, seed=0, device=CPU, scratch=tmp_path)
    assert result.history["train_loss"].iloc[-1] < 1e-4
    assert result.history["valid_loss"].isna().all()


@pytest.mark.parametrize("loss", ["rel_l2", "h1"])
def test_every_option_of_training_works_together(loss: str, tmp_path: Path) -> None:
    training = TrainingSpec(epochs=3, rollout=2, noise=0.01, loss=loss, schedule="cosine", grad_clip=0.5)
    spec = TINY.model_copy(update={"history": 2, "residual": False, "normalize_output": "none"})
    seen = []
    with progress.listening(seen.append):
        result = train(spec, training, advection(), seed=0, device=CPU, scratch=tmp_path)
    assert [(item.unit, item.done, item.total) for item in seen] == [("epoch", done, 3) for done in (1, 2, 3)]
    assert {"train_loss", "valid_loss", "learning_rate"} == seen[-1].figures.keys()
    assert list(result.history["epoch"]) == [1, 2, 3]
    assert np.isfinite(result.history.to_numpy()).all()
    assert result.model.card()["epochs"] == 3


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    training = TrainingSpec(epochs=2, noise=0.1)
    runs = [
        train(TINY, training, advection(), seed=seed, device=CPU, scratch=tmp_path / str(index))
        for index, seed in enumerate((1, 1, 2))
    ]
    assert_same(runs[0], runs[1])
    assert not torch.equal(
        weights(runs[0])["network.lift.first.weight"], weights(runs[2])["network.lift.first.weight"]
    )


def test_computing_a_batch_in_pieces_changes_no_more_than_rounding(tmp_path: Path) -> None:
    def trained(pieces: int) -> TrainedResult:
        training = TrainingSpec(epochs=2, batch_size=10, micro_batch=pieces, noise=0.05, loss="mse")
        return train(TINY, training, advection(), seed=0, device=CPU, scratch=tmp_path / str(pieces))

    whole, split = trained(10), trained(3)
    assert whole.history["train_loss"].tolist() == pytest.approx(
        split.history["train_loss"].tolist(), rel=1e-4
    )
    for name, value in weights(whole).items():
        assert torch.allclose(value.float(), weights(split)[name].float(), atol=1e-3)


def test_a_batch_is_cut_by_the_points_of_its_members_on_a_processor_alone() -> None:
    assert runs_at_once(64 * 64, CPU) == 32
    assert runs_at_once(10**9, CPU) == 1
    assert runs_at_once(64 * 64, torch.device("cuda")) > 10**6


def test_normalisers_see_the_training_part_alone(tmp_path: Path) -> None:
    data = advection()
    expected = data.part("train").tensor()
    data.dataset["u"][4:] += 1000
    result = train(TINY, TrainingSpec(epochs=1), data, seed=0, device=CPU, scratch=tmp_path)
    assert weights(result)["inputs.mean"].item() == pytest.approx(expected.mean().item(), rel=1e-6)
    assert weights(result)["inputs.std"].item() == pytest.approx(expected.std(correction=0).item(), rel=1e-4)


def test_the_window_of_the_data_is_what_is_trained_on(tmp_path: Path) -> None:
    data = advection()
    whole = train(TINY, TrainingSpec(epochs=1), data, seed=0, device=CPU, scratch=tmp_path / "a")
    part = train(TINY, TrainingSpec(epochs=1), data.part("train"), seed=0, device=CPU, scratch=tmp_path / "b")
    assert_same(whole, part)


def test_masked_cells_never_reach_the_weights(tmp_path: Path) -> None:
    def trained(filler: float) -> TrainedResult:
        data = advection()
        mask = xr.DataArray(np.ones(POINTS, dtype=np.int8), dims="x")
        mask[3:5] = 0
        data.dataset["u"] = data.dataset["u"].where(mask == 1, filler)
        masked = data.dataset.assign(mask=mask)
        return train(
            TINY,
            TrainingSpec(epochs=1),
            FieldData(masked, data.info),
            seed=0,
            device=CPU,
            scratch=tmp_path / str(filler),
        )

    assert_same(trained(math.nan), trained(-9999.0))


def test_the_best_weights_are_kept_and_early_stopping_ends_the_training(tmp_path: Path) -> None:
    training = TrainingSpec(
        epochs=40,
        schedule="constant",
        optimizer={"kind": "adamw", "learning_rate": 0.3},
        early_stopping={"patience": 2},
        loss="mse",
    )
    result = train(TINY, training, advection(), seed=0, device=CPU, scratch=tmp_path)
    losses = result.history["valid_loss"]
    best = int(losses.argmin())
    assert len(losses) == best + 3 < 40
    assert result.model.card()["best_epoch"] == best + 1
    # MSE over one channel is (error / spread)².
    error = weights(result)["error_std"] / weights(result)["inputs.std"]
    assert error.square().item() == pytest.approx(losses[best], rel=1e-4)


def test_early_stopping_without_a_valid_part_is_refused() -> None:
    training = TrainingSpec(early_stopping={}, loss="h1")
    paths = [problem.path for problem in training.check(advection(split=False).info)]
    assert paths == [("early_stopping",)]
    points = FieldsInfo({"u": "1"}, (Axis("point", 9),), TimeAxis(3, 1.0))
    assert [problem.path for problem in TrainingSpec(loss="h1").check(points)] == [("loss",)]


def test_divergence_names_epoch_batch_and_learning_rate(tmp_path: Path) -> None:
    training = TrainingSpec(
        epochs=30,
        schedule="constant",
        optimizer={"kind": "adamw", "learning_rate": 1e18},
        loss="mse",
        grad_clip=None,
    )
    with pytest.raises(
        Diverged, match=r"epoch \d+, batch \d+ of 2, learning rate 1e\+18; lower training.optimizer"
    ):
        train(TINY, training, advection(), seed=0, device=CPU, scratch=tmp_path)


def test_data_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    spec = TINY.model_copy(update={"history": 9})
    with pytest.raises(EmptySelection, match="4 samples of 9 times, one run takes 10"):
        train(spec, TrainingSpec(), advection(), seed=0, device=CPU, scratch=tmp_path)
    data = advection()
    data.dataset["u"][1, 2, 3] = math.nan
    with pytest.raises(NotFinite, match="variable 'u'"):
        train(TINY, TrainingSpec(), data, seed=0, device=CPU, scratch=tmp_path)
    masked = data.dataset.assign(mask=("x", np.zeros(POINTS, dtype=np.int8)))
    with pytest.raises(EmptySelection, match="no cell"):
        train(TINY, TrainingSpec(), FieldData(masked, data.info), seed=0, device=CPU, scratch=tmp_path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing is cleaned up."""


@pytest.mark.parametrize("subset", [None, SubsetSpec(sampler="christoffel", count=40, modes=3)])
def test_a_kill_at_any_batch_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subset: SubsetSpec | None
) -> None:
    training = TrainingSpec(epochs=3, noise=0.05, checkpoint_minutes=0, early_stopping={"patience": 5})
    arguments = {"seed": 3, "device": CPU, "subset": subset}
    unbroken = train(TINY, training, advection(), scratch=tmp_path / "unbroken", **arguments)
    step = Trainer._step
    for kill_at in range(6):
        taken = 0

        def killed(self: Trainer, *batch: torch.Tensor | None, kill_at: int = kill_at) -> float:
            nonlocal taken
            taken += 1
            value = step(self, *batch)
            if taken > kill_at:
                raise Killed
            return value

        scratch = tmp_path / str(kill_at)
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", killed)
            with pytest.raises(Killed):
                train(TINY, training, advection(), scratch=scratch, **arguments)
        assert_same(train(TINY, training, advection(), scratch=scratch, **arguments), unbroken)


def test_a_checkpoint_of_other_options_or_data_is_not_taken_up(tmp_path: Path) -> None:
    training = TrainingSpec(epochs=2, checkpoint_minutes=0)
    train(TINY, training, advection(), seed=0, device=CPU, scratch=tmp_path)
    assert _resumed(TINY, training, advection(), 0, tmp_path)
    assert not _resumed(TINY, training, advection(), 1, tmp_path)
    assert not _resumed(TINY, training.model_copy(update={"batch_size": 8}), advection(), 0, tmp_path)
    assert not _resumed(TINY.model_copy(update={"width": 5}), training, advection(), 0, tmp_path)
    assert not _resumed(TINY, training, advection(times=8), 0, tmp_path)


def _resumed(spec: FNOSpec, training: TrainingSpec, data: FieldData, seed: int, scratch: Path) -> bool:
    trainer = Trainer(TrainingTask(spec, training, data), seed=seed, device=CPU, scratch=scratch)
    trainer.resume()
    return trainer.state.epoch > 0


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
import test_training as case

folder = Path({folder!r})
training = case.TrainingSpec(epochs=24, batch_size=4, noise=0.05, ema=0.9, checkpoint_minutes=0)

def run(scratch):
    return case.train(case.TINY, training, case.advection(), seed=3, device=case.CPU, scratch=scratch)

random.seed(0)
kills = 0
while kills < 10:
    child = os.fork()
    if child == 0:
        run(folder / "killed")
        os._exit(0)
    before = max(folder.glob("killed/0*"), default=None)
    while max(folder.glob("killed/0*"), default=None) in (before, None):
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        break
    kills += 1
case.assert_same(run(folder / "killed"), run(folder / "unbroken"))
print(kills)
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_no_bit(tmp_path: Path) -> None:
    script = KILLS.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 10


def test_a_trained_model_is_restored_to_the_bit(tmp_path: Path) -> None:
    data = advection()
    result = train(TINY, TrainingSpec(epochs=1), data, seed=0, device=CPU, scratch=tmp_path)
    assert isinstance(result.model, OperatorDynamics)
    restored = TINY.restore(data.info, result.model.tensors())
    frames = data.tensor()[:, :1]
    assert torch.equal(restored.forecast(frames, [1, 4]), result.model.forecast(frames, [1, 4]))
