"""One step of a training: loss, gradient, optimizer; in pieces that fit the device."""

import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import repeat

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast import distributed, progress
from koopcast.errors import DeviceMissing, OutOfMemory
from koopcast.feeds import Batch
from koopcast.layers.normaliser import FieldStatistics
from koopcast.losses import Measure
from koopcast.models import Context, HasObjective, NetworkModel
from koopcast.rng import torch_generator
from koopcast.training_spec import TrainingSpec

POINTS_AT_ONCE = 2**17
"""Grid points, over the members of a batch, that a processor computes at once."""
Place = tuple[int, int]
"""Epoch and batch."""


class Stepper:
    """Moves the weights of a model that works on one grid or several.

    Args:
        training: Options.
        models: The model on the grid of the data, then on that of each feed, all sharing the weights.
        statistics: Of the training data.
        device: Where the weights are.

    Raises:
        DeviceMissing: The device does not compute in the precision that is asked for.
    """

    def __init__(
        self,
        training: TrainingSpec,
        models: Sequence[NetworkModel],
        statistics: FieldStatistics,
        device: torch.device,
    ) -> None:
        self.training, self.models, self.device = training, models, device
        self.measures = [measure_of(model, statistics, device) for model in models]
        self.noise_std = training.noise * statistics.fields.std.float().to(device)
        self.network = models[0].network
        self.optimizer = training.optimizer.build(self.network.parameters())
        _refuse_precision(training.precision, device)

    def rate(self) -> float:
        """Return the learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def mean_square(self, field: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch channel"]:
        """Return the mean square over the cells that count, each frame by itself."""
        return replace(self.measures[0], frames=1).mean_square(field)

    def step(
        self, batch: Batch, *, rate: float, micro_batch: int, seed: int, place: Place, progress: float
    ) -> tuple[float, int]:
        """Make one step; return the loss before it, and the runs that were computed at once.

        Where the device runs out of memory the batch is computed in smaller pieces, whose gradients are
        added: the step is the same.

        Raises:
            OutOfMemory: One run alone does not fit.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pieces = micro_batch
        while True:
            try:
                value = self._gradient(batch, pieces, seed, place, progress)
                break
            except torch.OutOfMemoryError as error:
                pieces = _halved(min(pieces, max(1, len(batch.frames))), error)
        distributed.add_gradients(self.network.parameters())
        value = distributed.added(value, self.device)
        if self.training.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.training.grad_clip)
        if math.isfinite(value):
            self.optimizer.step()
        return value, pieces

    @torch.no_grad()
    def judge(self, frames: Float[Tensor, "batch frame *space channel"], seed: int, place: Place) -> float:
        """Return the loss of a batch of the `valid` part, over the whole rollout."""
        self.network.eval()
        generator = torch_generator(seed, "judge", *place)
        context = Context(self.training.rollout, False, 1.0, generator, is_training=False)
        return float(self._loss(0, frames, None, context))

    def _gradient(self, batch: Batch, pieces: int, seed: int, place: Place, progress: float) -> float:
        """Leave the gradient of the batch's mean loss in the parameters; return the loss."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        frames = self._noisy(batch, seed, place)
        value = 0.0
        shares: Iterable[Tensor | None] = repeat(None)
        if batch.weights is not None:
            shares = batch.weights.to(frames).split(pieces)
        rank = distributed.share().rank
        for number, (part, share) in enumerate(zip(frames.split(pieces), shares, strict=False)):
            if not len(part):
                continue
            context = Context(
                rollout=self.training.rollout_at(place[0]),
                push_forward=self.training.push_forward,
                progress=progress,
                generator=torch_generator(seed, "draw", *place, rank, number),
                is_training=True,
            )
            with self._precision():
                loss = self._loss(1 + batch.feed, part, share, context)
            loss = loss * (len(part) / batch.total)
            loss.backward()
            value += float(loss.detach())
        return value

    def _loss(
        self,
        grid: int,
        frames: Float[Tensor, "batch frame *space channel"],
        weights: Float[Tensor, " batch"] | None,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return the mean over the runs of what the model makes small, each run times its weight."""
        if weights is not None and isinstance(self.models[grid].network, HasObjective):
            # Only it knows how its objective is a mean over runs: each is asked for alone.
            losses = [self._loss(grid, run[None], None, context) for run in frames]
            return (weights * torch.stack(losses)).mean()

        def compare(prediction: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
            measure = self.measures[grid]
            if weights is None:
                return self.training.loss.measure(prediction, target, replace(measure, given=given))
            losses = [
                self.training.loss.measure(
                    prediction[i : i + 1],
                    target[i : i + 1],
                    replace(measure, given=None if given is None else given[i : i + 1]),
                )
                for i in range(len(prediction))
            ]
            return (weights * torch.stack(losses)).mean()

        return self.models[grid].loss(frames, compare, context)

    def _noisy(self, batch: Batch, seed: int, place: Place) -> Float[Tensor, "batch frame *space channel"]:
        """Return the runs with noise on the frames that the model is given; the same for any number of
        processes.
        """
        if self.training.noise == 0:
            return batch.frames
        known = self.models[0].signature.frames_in
        shape = (batch.total, known, *batch.frames.shape[2:])
        noise = torch.randn(shape, generator=torch_generator(seed, "noise", *place))
        own = noise[distributed.share().of(batch.total)].to(self.device) * self.noise_std
        return torch.cat([batch.frames[:, :known] + own, batch.frames[:, known:]], dim=1)

    def _precision(self) -> AbstractContextManager[object]:
        if self.training.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def measure_of(model: NetworkModel, statistics: FieldStatistics, device: torch.device) -> Measure:
    """Return what a loss knows of the outputs of a model on its grid, frames as channels."""
    names, signature = list(model.info.variables), model.signature
    fields = statistics.fields.of_channels([names.index(name) for name in signature.outputs])
    frames = signature.frames_out
    same = tuple(statistics.valid.shape) == model.info.shape
    valid = statistics.valid if same else torch.ones(model.info.shape, dtype=torch.bool)
    measure = Measure(
        model.info.axes,
        valid,
        fields.std.float().repeat(frames),
        fields.rms.float().repeat(frames),
        frames,
        signature,
    )
    return measure.to(device)


def runs_at_once(cells: int, device: torch.device) -> int:
    """Return how many runs to compute at once: on a processor few enough for its memory, else all."""
    if device.type != "cpu":
        return sys.maxsize
    return max(1, POINTS_AT_ONCE // cells)


def _halved(pieces: int, error: torch.OutOfMemoryError) -> int:
    """Return half as many runs at once, and say so."""
    if pieces == 1:
        raise OutOfMemory(
            "the device has not the memory for one run of this model",
            "use a smaller model, a shorter rollout, or precision: bfloat16",
        ) from error
    half = max(1, pieces // 2)
    progress.say(
        f"the device ran out of memory at {pieces} runs at once; going on with {half}, gradients added"
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return half


def _refuse_precision(precision: str, device: torch.device) -> None:
    has_it = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    if precision == "bfloat16" and not has_it:
        raise DeviceMissing(f"'{device}' does not compute in bfloat16", "use precision: float32")
