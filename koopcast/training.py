"""Training of networks on runs of frames: resumable at any batch, bit for bit."""

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast import distributed, progress
from koopcast.batches import Position, Runs
from koopcast.checkpoints import Checkpoint, Checkpoints, flattened, grouped
from koopcast.errors import Diverged, EmptySelection
from koopcast.feeds import Batch, Feed, feed_batches, num_batches, on_device, thinning
from koopcast.fields import FieldData
from koopcast.layers.normaliser import FieldStatistics
from koopcast.mapping import MappingSpec, Signature
from koopcast.models import NetworkModel, NetworkModelSpec
from koopcast.rng import numpy_generator, torch_generator
from koopcast.stepping import Stepper, runs_at_once
from koopcast.subsets import SubsetSpec
from koopcast.training_spec import EarlyStopping, MultiResolution, TrainingSpec

__all__ = [
    "EarlyStopping",
    "MultiResolution",
    "TrainedResult",
    "Trainer",
    "TrainingSpec",
    "TrainingTask",
    "runs_at_once",
    "train",
]

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class TrainedResult:
    """A trained model and the table `epoch, train_loss, valid_loss, learning_rate, seconds, waiting`.

    `valid_loss` may be NaN; `waiting` are the seconds in which the next batch was not there yet.
    """

    model: NetworkModel
    history: pd.DataFrame


@dataclass(frozen=True)
class TrainingTask:
    """What is learned from what."""

    spec: NetworkModelSpec
    training: TrainingSpec
    data: FieldData
    mapping: MappingSpec | None = None
    """None: dynamics."""
    subset: SubsetSpec | None = None

    @property
    def signature(self) -> Signature:
        """What the network maps to what."""
        if self.mapping is None:
            return Signature.of_dynamics(self.data.info, self.spec.num_history())
        return self.mapping.signature(self.data.info)

    def runs(self) -> tuple[Runs, Runs | None]:
        """Return the runs to learn from, and those of the `valid` part where there is one.

        Raises:
            EmptySelection: A part is shorter than one run of frames.
        """
        length = self.spec.num_frames(self.signature, self.training.rollout)
        data = self.data
        train_data = data if data.window is not None else data.part_or_all("train")
        valid = data.part("valid") if "valid" in data.info.parts else None
        if valid is not None and valid.view == train_data.view:
            valid = None
        runs = Runs(self.signature.seen(train_data), length, "the training data")
        if valid is None:
            return runs, None
        return runs, Runs(self.signature.seen(valid), length, "the validation data")


def train(
    spec: NetworkModelSpec,
    training: TrainingSpec,
    data: FieldData,
    *,
    seed: int,
    device: torch.device,
    scratch: Path,
    mapping: MappingSpec | None = None,
    subset: SubsetSpec | None = None,
) -> TrainedResult:
    """Train a model on the `train` part of `data`, or on its window, or on all of it.

    A training that was killed goes on from its last checkpoint in `scratch` and ends with the weights of an
    unbroken one, bit for bit (same machine, same number of threads). The folder may be deleted afterwards.
    With a `mapping` a map is learned, else dynamics. With a `subset` the steps see its runs alone;
    normalisers and the `valid` part are those of all data. Under `torchrun` every process calls this with the
    same arguments and gets the same model.

    Raises:
        Diverged: The loss is no longer finite.
        EmptySelection: A part is shorter than one run of frames.
        StoreNotWritable: A checkpoint cannot be written.
    """
    task = TrainingTask(spec, training, data, mapping, subset)
    return train_task(task, seed=seed, device=device, scratch=scratch)


def train_task(task: TrainingTask, *, seed: int, device: torch.device, scratch: Path) -> TrainedResult:
    """Do what `train` does for a task."""
    trainer = Trainer(task, seed=seed, device=device, scratch=scratch)
    trainer.resume()
    trainer.run()
    trainer.save()
    return trainer.result()


@dataclass
class State:
    """Everything of a training, beside weights and moments, that its next step depends on."""

    micro_batch: int
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waiting: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0
    stale_epochs: int = 0
    rows: list[dict[str, float | int]] = field(default_factory=list)


class Trainer:
    """One training: its data, model, optimizer and state."""

    def __init__(self, task: TrainingTask, *, seed: int, device: torch.device, scratch: Path) -> None:
        self.task, self.training, self.seed, self.device = task, task.training, seed, device
        signature, info = task.signature, task.data.info
        self.runs, self.valid_runs = task.runs()
        statistics = self.runs.statistics(valid_cells(task.data), of_cells=task.spec.needs_cells())
        if task.subset is not None:
            draws = numpy_generator(seed, "subset")
            task.subset.limit(self.runs, signature.frames_in, statistics, draws)
        network = task.spec.build(signature, torch_generator(seed, "weights"))
        self.model = task.spec.assemble(network, info, signature, statistics).to(device)
        task.spec.calibrate(self.model.network, self._pairs)
        self.feeds = _feeds(self.runs, task)
        self.stepper = Stepper(task.training, self._models(), statistics, device)
        self.num_batches = num_batches(self.feeds)
        self.state = State(self.training.micro_batch or runs_at_once(info.num_cells, device))
        self.average = self._weights() if self.training.ema is not None else {}
        self.best = self._weights()
        self.share = distributed.share()
        self.checkpoints = Checkpoints(scratch, self._identity(statistics))

    def run(self) -> None:
        """Train to the last epoch, or until early stopping."""
        saved = time.monotonic()
        started = saved - self.state.seconds
        while self.state.epoch < self.training.epochs and not self._is_stopped():
            position = Position(self.state.epoch, self.state.batch)
            batches = feed_batches(self.feeds, self.seed, position, self.share)
            with closing(batches):
                asked = time.monotonic()
                for batch in batches:
                    self.state.waiting += time.monotonic() - asked
                    self.state.loss_sum += self._step(batch) * batch.total
                    self.state.batch += 1
                    self.state.seconds = time.monotonic() - started
                    if self.state.batch == self.num_batches:
                        self._end_epoch()
                    if time.monotonic() - saved >= SECONDS_PER_MINUTE * self.training.checkpoint_minutes:
                        self.save()
                        saved = time.monotonic()
                    asked = time.monotonic()

    def result(self) -> TrainedResult:
        """Return the model with the weights that are kept, its error and its card."""
        network = self.model.network
        network.load_state_dict(self.best)
        network.eval()
        with torch.no_grad():
            self.task.spec.conclude(self.model, self._frames)
        error = self._error()
        rows = self.state.rows
        facts: dict[str, float | int | str] = {
            "epochs": len(rows),
            "best_epoch": self.state.best_epoch,
            "train_loss": rows[self.state.best_epoch - 1]["train_loss"],
            "error_on": "valid" if self.valid_runs else "train",
        }
        if self.valid_runs is not None:
            facts["valid_loss"] = rows[self.state.best_epoch - 1]["valid_loss"]
        return TrainedResult(self.model.finished(error, facts), pd.DataFrame(rows))

    def save(self) -> None:
        """Write a checkpoint; of several processes the first one does."""
        if self.share.rank > 0:
            return
        moments = flattened(
            {str(index): value for index, value in self.stepper.optimizer.state_dict()["state"].items()}
        )
        groups = {
            "weights": self._weights(),
            "best": self.best,
            "average": self.average,
            "moments": moments,
        }
        self.checkpoints.save(self._step_number(), Checkpoint(flattened(groups), asdict(self.state)))

    def resume(self) -> None:
        """Take up the newest checkpoint of this training, if there is one."""
        found = self.checkpoints.latest()
        if found is None:
            return
        groups = grouped(found.tensors)
        moments = {int(index): value for index, value in grouped(groups["moments"]).items()}
        self.model.network.load_state_dict(groups["weights"])
        self.best = {name: value.to(self.device) for name, value in groups["best"].items()}
        self.average = {name: value.to(self.device) for name, value in groups.get("average", {}).items()}
        optimizer = self.stepper.optimizer
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        self.state = State(**found.facts)

    def _step(self, batch: Batch) -> float:
        """Make one step of the optimizer; return the loss before it."""
        state = self.state
        place = (state.epoch, state.batch)
        value, state.micro_batch = self.stepper.step(
            on_device(batch, self.device),
            rate=self._learning_rate(),
            micro_batch=state.micro_batch,
            seed=self.seed,
            place=place,
            progress=self._step_number() / (self.training.epochs * self.num_batches),
        )
        if not math.isfinite(value):
            raise Diverged(
                f"the training loss became {value} at epoch {state.epoch + 1}, "
                f"batch {state.batch + 1} of {self.num_batches}, learning rate {self._learning_rate():.3g}",
                "lower training.optimizer.learning_rate, set training.grad_clip, or lower training.rollout",
            )
        if self.training.ema is not None:
            self._remember(self.training.ema)
        return value

    @torch.no_grad()
    def _remember(self, memory: float) -> None:
        """Move the running mean of the weights towards them; what is no real number is taken over."""
        for name, value in self.model.network.state_dict().items():
            mean = self.average[name]
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(value, 1 - memory)
            else:
                mean.copy_(value)

    def _end_epoch(self) -> None:
        """Record the epoch, judge it on the validation part, keep its weights if they are the best."""
        state = self.state
        count = sum(feed.runs.count for feed in self.feeds)
        losses = {"train_loss": state.loss_sum / count, "valid_loss": self._valid_loss()}
        rate = self.stepper.rate()
        state.epoch, state.batch, state.loss_sum = state.epoch + 1, 0, 0.0
        self._judge(losses["valid_loss"])
        spent = {"seconds": state.seconds, "waiting": state.waiting}
        state.rows.append({"epoch": state.epoch, **losses, "learning_rate": rate, **spent})
        finite = {name: loss for name, loss in losses.items() if not math.isnan(loss)}
        progress.report("epoch", state.epoch, self.training.epochs, learning_rate=rate, **finite)

    def _judge(self, valid_loss: float) -> None:
        """Keep the weights if they are the best so far; without validation data the last ones are."""
        state, stopping = self.state, self.training.early_stopping
        least = 0.0 if stopping is None else stopping.min_delta
        state.stale_epochs = 0 if valid_loss < state.best_loss - least else state.stale_epochs + 1
        is_best = valid_loss < state.best_loss
        state.best_loss = min(valid_loss, state.best_loss)
        if self.valid_runs is None or is_best or self.training.keep == "last":
            kept = self.average if self.average else self.model.network.state_dict()
            state.best_epoch, self.best = state.epoch, _copied(kept)

    def _valid_loss(self) -> float:
        """Return the mean loss on the validation part, of the mean weights where there are; NaN without
        one.
        """
        if self.valid_runs is None:
            return math.nan
        weights = self._weights()
        if self.average:
            self.model.network.load_state_dict(self.average)
        total = 0.0
        for number, frames in enumerate(self.valid_runs.batches(self.training.batch_size)):
            place = (self.state.epoch, number)
            total += self.stepper.judge(frames.to(self.device), self.seed, place) * len(frames)
        self.model.network.load_state_dict(weights)
        mean = total / self.valid_runs.count
        if not math.isfinite(mean):
            raise Diverged(
                f"the validation loss became {mean} after epoch {self.state.epoch + 1}",
                "lower training.optimizer.learning_rate or training.rollout",
            )
        return mean

    @torch.no_grad()
    def _error(self) -> Float[Tensor, " channel"]:
        """Return the root mean square of the error of each variable of one prediction."""
        runs = self.valid_runs or self.runs
        total = torch.zeros(len(self.model.signature.outputs), dtype=torch.float64)
        for frames, weights in runs.weighted_batches(self.training.batch_size):
            error = self.model.error(frames.to(self.device))
            squares = self.stepper.mean_square(error)
            squares = squares.unflatten(0, (len(frames), -1)).mean(1)
            squares = squares if weights is None else squares * weights.to(squares)[:, None]
            total += squares.sum(0).cpu().double()
        return (total / runs.count).sqrt()

    def _frames(self) -> Iterator[Tensor]:
        """Yield the runs of the training part in batches."""
        for frames in self.runs.batches(self.training.batch_size):
            yield frames.to(self.device)

    def _pairs(self) -> Any:
        """Yield normalised batches of what the network is given and should return."""
        names = tuple(self.task.data.info.variables)
        model, signature = self.model, self.model.signature
        for run in self._frames():
            yield model.normalised(signature.given(run, names), signature.target(run, names))

    def _models(self) -> list[NetworkModel]:
        """Return the model on the grid of the data, then on that of each feed, all sharing the weights."""
        return [self.model, *(self.model.on(feed.axes) for feed in self.feeds)]

    def _weights(self) -> dict[str, Tensor]:
        return _copied(self.model.network.state_dict())

    def _step_number(self) -> int:
        return self.state.epoch * self.num_batches + self.state.batch

    def _learning_rate(self) -> float:
        factor = self.training.schedule.factor(self._step_number(), self.training.epochs * self.num_batches)
        return self.training.optimizer.learning_rate * factor

    def _is_stopped(self) -> bool:
        stopping = self.training.early_stopping
        return stopping is not None and self.state.stale_epochs >= stopping.patience

    def _identity(self, statistics: FieldStatistics) -> str:
        """Return what the training is; checkpoints of another one are not taken up."""
        task = self.task
        parts = (task.spec, task.training, task.mapping, task.subset, self.seed, task.data.info)
        return f"{parts!r} {self.runs.data.view!r} {_exact(statistics)}"


def _feeds(runs: Runs, task: TrainingTask) -> list[Feed]:
    several, axes = task.training.multi_resolution, task.data.info.axes
    if several is None:
        return [Feed(runs, task.training.batch_size, axes)]
    feeds = []
    for points, size in zip(several.grids, several.batch_sizes, strict=True):
        step, left = thinning(axes, points)
        feeds.append(Feed(runs.sharing(), size, left, step))
    return feeds


def valid_cells(data: FieldData) -> Bool[Tensor, "*space"]:
    """Return the cells that hold data at every time.

    Raises:
        EmptySelection: None does.
    """
    valid = data.always_valid()
    if not valid.any():
        raise EmptySelection(
            "no cell holds data at every time", "fill gaps before training, or choose other variables"
        )
    return valid


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}


def _exact(statistics: FieldStatistics) -> list[Any]:
    moments = (statistics.fields, statistics.increments)
    return [
        (item.count, [value.hex() for value in item.mean.tolist()], item.departure.tolist())
        for item in moments
    ]
