"""Training of networks on runs of frames: resumable at any batch, bit for bit."""

import math
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from koopcast import progress
from koopcast.batches import Position, Runs
from koopcast.checkpoints import Checkpoint, Checkpoints, flattened, grouped
from koopcast.errors import Diverged, EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.layers.normaliser import FieldStatistics
from koopcast.losses import Measure
from koopcast.models import Model, NetworkModel, NetworkModelSpec
from koopcast.rng import numpy_generator, torch_generator
from koopcast.subsets import SubsetSpec
from koopcast.training_spec import EarlyStopping, TrainingSpec

__all__ = ["EarlyStopping", "TrainedResult", "Trainer", "TrainingSpec", "runs_at_once", "train"]

SECONDS_PER_MINUTE = 60
POINTS_PER_THREAD = 2**14
"""Grid points, over the members of a batch, that a processor's thread computes at once."""


@dataclass(frozen=True)
class TrainedResult:
    """A trained model and the table `epoch, train_loss, valid_loss, learning_rate, seconds` (valid_loss may
    be NaN).
    """

    model: Model
    history: pd.DataFrame


def train(
    spec: NetworkModelSpec,
    training: TrainingSpec,
    data: FieldData,
    *,
    seed: int,
    device: torch.device,
    scratch: Path,
    subset: SubsetSpec | None = None,
) -> TrainedResult:
    """Train a model on the `train` part of `data`, or on its window, or on all of it.

    A training that was killed goes on from its last checkpoint in `scratch` and ends with the weights of an
    unbroken one, bit for bit (same machine, same number of threads). The folder may be deleted afterwards.
    With a `subset` the steps see its runs alone; normalisers and the `valid` part are those of all data.

    Raises:
        Diverged: The loss is no longer finite.
        EmptySelection: A part is shorter than one run of frames.
        StoreNotWritable: A checkpoint cannot be written.
    """
    trainer = Trainer(spec, training, data, seed=seed, device=device, scratch=scratch, subset=subset)
    trainer.resume()
    trainer.run()
    return trainer.result()


@dataclass
class State:
    """Everything of a training, beside weights and moments, that its next step depends on."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0
    stale_epochs: int = 0
    rows: list[dict[str, float | int]] = field(default_factory=list)


class Trainer:
    """One training: its data, model, optimizer and state."""

    def __init__(
        self,
        spec: NetworkModelSpec,
        training: TrainingSpec,
        data: FieldData,
        *,
        seed: int,
        device: torch.device,
        scratch: Path,
        subset: SubsetSpec | None = None,
    ) -> None:
        self.training, self.seed, self.device = training, seed, device
        self.history = spec.num_history()
        length = self.history + training.rollout
        train_data = data if data.window is not None else data.part_or_all("train")
        self.runs = Runs(train_data, length, "the training data")
        has_valid = "valid" in data.info.parts and data.info.parts["valid"] != train_data.view
        self.valid_runs = Runs(data.part("valid"), length, "the validation data") if has_valid else None
        statistics = self.runs.statistics(_valid_cells(data))
        if subset is not None:
            subset.limit(self.runs, self.history, statistics, numpy_generator(seed, "subset"))
        network = spec.build(data.info, torch_generator(seed, "weights"))
        self.model: NetworkModel = spec.assemble(network, data.info, statistics).to(device)
        self.measure = _measure(data.info, statistics).to(device)
        self.optimizer = training.optimizer.build(self.model.network.parameters())
        self.num_batches = self.runs.num_batches(training.batch_size)
        self.micro_batch = training.micro_batch or runs_at_once(data.info.num_cells, device)
        self.state = State()
        self.best = self._weights()
        identity = f"{spec!r} {training!r} {seed} {data.info!r} {train_data.view!r} {_exact(statistics)}"
        self.checkpoints = Checkpoints(scratch, identity if subset is None else f"{identity} {subset!r}")

    def run(self) -> None:
        """Train to the last epoch, or until early stopping."""
        saved, started = time.monotonic(), time.monotonic() - self.state.seconds
        while self.state.epoch < self.training.epochs and not self._is_stopped():
            position = Position(self.state.epoch, self.state.batch)
            batches = self.runs.weighted_batches(self.training.batch_size, seed=self.seed, position=position)
            for frames, weights in batches:
                self.state.loss_sum += self._step(frames.to(self.device), weights) * len(frames)
                self.state.batch += 1
                self.state.seconds = time.monotonic() - started
                if self.state.batch == self.num_batches:
                    self._end_epoch()
                if time.monotonic() - saved >= SECONDS_PER_MINUTE * self.training.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()

    def result(self) -> TrainedResult:
        """Return the model with the best weights, its one-step error and its card."""
        network = self.model.network
        network.load_state_dict(self.best)
        error = self._one_step_error()
        rows = self.state.rows
        facts: dict[str, float | int | str] = {
            "epochs": len(rows),
            "best_epoch": self.state.best_epoch,
            "train_loss": rows[self.state.best_epoch - 1]["train_loss"],
            "one_step_error_on": "valid" if self.valid_runs else "train",
        }
        if self.valid_runs is not None:
            facts["valid_loss"] = self.state.best_loss
        return TrainedResult(self.model.finished(error, facts), pd.DataFrame(rows))

    def save(self) -> None:
        """Write a checkpoint."""
        moments = flattened(
            {str(index): value for index, value in self.optimizer.state_dict()["state"].items()}
        )
        tensors = flattened({"weights": self._weights(), "best": self.best, "moments": moments})
        self.checkpoints.save(self._step_number(), Checkpoint(tensors, asdict(self.state)))

    def resume(self) -> None:
        """Take up the newest checkpoint of this training, if there is one."""
        found = self.checkpoints.latest()
        if found is None:
            return
        groups = grouped(found.tensors)
        moments = {int(index): value for index, value in grouped(groups["moments"]).items()}
        self.model.network.load_state_dict(groups["weights"])
        self.best = {name: value.to(self.device) for name, value in groups["best"].items()}
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.state = State(**found.facts)

    def _step(
        self, frames: Float[Tensor, "batch frame *space channel"], weights: Float[Tensor, " batch"] | None
    ) -> float:
        """Make one step of the optimizer; return the loss before it."""
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        parts = self._noisy(frames).split(self.micro_batch)
        shares = repeat(None) if weights is None else weights.to(frames).split(self.micro_batch)
        for part, share in zip(parts, shares, strict=False):
            loss = self._loss(part, share) * (len(part) / len(frames))
            loss.backward()
            value += float(loss.detach())
        if not math.isfinite(value):
            raise Diverged(
                f"the training loss became {value} at epoch {self.state.epoch + 1}, "
                f"batch {self.state.batch + 1} of {self.num_batches}, learning rate {rate:.3g}",
                "lower training.optimizer.learning_rate, set training.grad_clip, or lower training.rollout",
            )
        if self.training.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.network.parameters(), self.training.grad_clip)
        self.optimizer.step()
        return value

    def _loss(
        self,
        frames: Float[Tensor, "batch frame *space channel"],
        weights: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, ""]:
        known = frames[:, : self.history]
        total = torch.zeros((), device=frames.device)
        for step in range(self.training.rollout):
            following = self.model.advance(known)
            target = frames[:, self.history + step]
            total = total + self._compared(following, target, weights)
            known = torch.cat([known[:, 1:], following[:, None]], dim=1)
        return total / self.training.rollout

    def _compared(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        weights: Float[Tensor, " batch"] | None,
    ) -> Float[Tensor, ""]:
        """Return the loss, the mean over the batch, with weights each member's loss times its own."""
        if weights is None:
            return self.training.loss.measure(prediction, target, self.measure)
        members = zip(prediction.split(1), target.split(1), strict=True)
        losses = [self.training.loss.measure(one, other, self.measure) for one, other in members]
        return (weights * torch.stack(losses)).mean()

    def _noisy(
        self, frames: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch frame *space channel"]:
        if self.training.noise == 0:
            return frames
        generator = torch_generator(self.seed, "noise", self.state.epoch, self.state.batch)
        shape = (len(frames), self.history, *frames.shape[2:])
        noise = (
            torch.randn(shape, generator=generator).to(frames.device) * self.training.noise * self.measure.std
        )
        return torch.cat([frames[:, : self.history] + noise, frames[:, self.history :]], dim=1)

    def _end_epoch(self) -> None:
        """Record the epoch, judge it on the validation part, keep its weights if they are the best."""
        state = self.state
        losses = {"train_loss": state.loss_sum / self.runs.count, "valid_loss": self._valid_loss()}
        rate = float(self.optimizer.param_groups[0]["lr"])
        state.epoch, state.batch, state.loss_sum = state.epoch + 1, 0, 0.0
        self._judge(losses["valid_loss"])
        state.rows.append({"epoch": state.epoch, **losses, "learning_rate": rate, "seconds": state.seconds})
        finite = {name: loss for name, loss in losses.items() if not math.isnan(loss)}
        progress.report("epoch", state.epoch, self.training.epochs, learning_rate=rate, **finite)

    def _judge(self, valid_loss: float) -> None:
        """Keep the weights if they are the best so far; without validation data the last ones are."""
        state, stopping = self.state, self.training.early_stopping
        least = 0.0 if stopping is None else stopping.min_delta
        state.stale_epochs = 0 if valid_loss < state.best_loss - least else state.stale_epochs + 1
        if self.valid_runs is None or valid_loss < state.best_loss:
            state.best_loss, state.best_epoch, self.best = valid_loss, state.epoch, self._weights()

    @torch.no_grad()
    def _valid_loss(self) -> float:
        """Return the mean loss on the validation part; NaN without one."""
        if self.valid_runs is None:
            return math.nan
        self.model.network.eval()
        total = 0.0
        for frames in self.valid_runs.batches(self.training.batch_size):
            total += float(self._loss(frames.to(self.device))) * len(frames)
        mean = total / self.valid_runs.count
        if not math.isfinite(mean):
            raise Diverged(
                f"the validation loss became {mean} after epoch {self.state.epoch + 1}",
                "lower training.optimizer.learning_rate or training.rollout",
            )
        return mean

    @torch.no_grad()
    def _one_step_error(self) -> Float[Tensor, " channel"]:
        """Return the root mean square of the one-step error of each variable."""
        self.model.network.eval()
        runs = self.valid_runs or self.runs
        total = torch.zeros(runs.data.info.num_channels, dtype=torch.float64)
        for frames, weights in runs.weighted_batches(self.training.batch_size):
            frames = frames.to(self.device)
            error = self.model.advance(frames[:, : self.history]) - frames[:, self.history]
            squares = self.measure.mean_square(error)
            squares = squares if weights is None else squares * weights.to(squares)[:, None]
            total += squares.sum(0).cpu().double()
        return (total / runs.count).sqrt()

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.network.state_dict().items()}

    def _step_number(self) -> int:
        return self.state.epoch * self.num_batches + self.state.batch

    def _learning_rate(self) -> float:
        factor = self.training.schedule.factor(self._step_number(), self.training.epochs * self.num_batches)
        return self.training.optimizer.learning_rate * factor

    def _is_stopped(self) -> bool:
        stopping = self.training.early_stopping
        return stopping is not None and self.state.stale_epochs >= stopping.patience


def runs_at_once(cells: int, device: torch.device) -> int:
    """Return how many runs to compute at once: on a processor as many as stay in its cache, else all."""
    if device.type != "cpu":
        return sys.maxsize
    return max(1, POINTS_PER_THREAD * torch.get_num_threads() // cells)


def _valid_cells(data: FieldData) -> Tensor:
    valid = data.always_valid()
    if not valid.any():
        raise EmptySelection(
            "no cell holds data at every time", "fill gaps before training, or choose other variables"
        )
    return valid


def _measure(info: FieldsInfo, statistics: FieldStatistics) -> Measure:
    fields = statistics.fields
    return Measure(info.axes, statistics.valid, fields.std.float(), fields.rms.float())


def _exact(statistics: FieldStatistics) -> list[Any]:
    moments = (statistics.fields, statistics.increments)
    return [
        (item.count, [value.hex() for value in item.mean.tolist()], item.departure.tolist())
        for item in moments
    ]
