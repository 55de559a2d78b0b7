"""Options of a training."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from koopcast.errors import ShapeMismatch
from koopcast.feeds import thinning
from koopcast.grids import FieldsInfo
from koopcast.losses import AnyLoss
from koopcast.optimizers import AnyOptimizer
from koopcast.schedules import AnySchedule
from koopcast.spec import Problem, Spec


class EarlyStopping(Spec):
    """Stop when the loss on the `valid` part no longer falls."""

    patience: PositiveInt = 10
    """Epochs without an improvement before the end."""
    min_delta: NonNegativeFloat = 0.0
    """A smaller improvement does not count."""


class MultiResolution(Spec):
    """Pass over the data on several grids in each epoch, in batches of one grid, in random order."""

    grids: tuple[PositiveInt, ...] = Field(min_length=1)
    """Points of the first space axis on each grid; points of the data are left out to reach it."""
    batch_sizes: tuple[PositiveInt, ...] = Field(min_length=1)
    """Runs of frames a step on each grid."""

    @model_validator(mode="after")
    def _pairs_up(self) -> "MultiResolution":
        if len(self.grids) != len(self.batch_sizes):
            raise ValueError(
                f"{len(self.grids)} grids and {len(self.batch_sizes)} batch_sizes; give as many of both"
            )
        return self

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse grids that leaving out points of the data does not reach."""
        for index, points in enumerate(self.grids):
            try:
                thinning(fields.axes, points)
            except ShapeMismatch as error:
                yield Problem(("grids", index), str(error))


class TrainingSpec(Spec):
    """How a network is trained. The weights kept are those of the epoch with the least loss on the `valid`
    part.
    """

    epochs: PositiveInt = 20
    """Passes over the training part."""
    batch_size: PositiveInt = 16
    """Runs of frames a step."""
    micro_batch: PositiveInt | None = None
    """Runs computed at once; gradients are summed over the batch. Default: on a
    processor at most 2^17 points, else the batch."""
    multi_resolution: MultiResolution | None = None
    """Train on coarser grids too; default: on the grid of the data alone."""
    loss: AnyLoss = Field(default="rel_l2", validate_default=True)
    """What is made small."""
    optimizer: AnyOptimizer = Field(default="adamw", validate_default=True)
    """How the weights move."""
    schedule: AnySchedule = Field(default="one_cycle", validate_default=True)
    """How the learning rate changes from batch to batch."""
    keep: Literal["best", "last"] = "best"
    """Whose weights the model gets: those of the best epoch by the `valid` part, or of the last one."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Memory of a running mean of the weights, a step; the mean is then judged and kept. Default: none."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: matrix products and convolutions in half the bits, where the device has them; weights,
    moments and losses stay float32."""
    grad_clip: PositiveFloat | None = 1.0
    """Largest norm of the gradient; a longer one is shortened to it."""
    early_stopping: EarlyStopping | None = None
    """Stop when the `valid` part no longer gains; default: never."""
    rollout: PositiveInt = 1
    """Steps that the model makes from each start, its own frames as input; the loss is the mean over them."""
    curriculum: bool = False
    """Begin with a rollout of 1 and lengthen it to `rollout` in equal shares of the epochs."""
    push_forward: bool = False
    """Make all steps of a rollout but the last without gradients; the last one alone counts (Brandstetter et
    al. 2022)."""
    noise: NonNegativeFloat = 0.0
    """Standard deviation of noise added to the input frames, in units of each variable's spread."""
    processes: PositiveInt = Field(1, le=64)
    """Processes that share each batch, each with its own device where there are several (`torchrun`)."""
    checkpoint_minutes: NonNegativeFloat = Field(2.0, json_schema_extra={"key": False})
    """Time between checkpoints, from which a killed training goes on; 0: after every batch."""

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse early stopping without a part to judge by, and what the loss refuses."""
        if self.early_stopping is not None and "valid" not in fields.parts:
            yield Problem(
                ("early_stopping",), "needs a part 'valid'; add it under `split`, or remove early_stopping"
            )
        for problem in self.loss.check(fields):
            yield problem.below("loss")
        for name in ("curriculum", "push_forward"):
            if getattr(self, name) and self.rollout == 1:
                yield Problem((name,), "a rollout of 1 has no earlier steps; raise rollout, or remove it")
        if self.processes > self.batch_size:
            yield Problem(
                ("processes",), f"{self.processes} is above {self.batch_size}, the runs of a batch; lower it"
            )

    def rollout_at(self, epoch: int) -> int:
        """Return the steps made from each start in an epoch, from 0."""
        if not self.curriculum:
            return self.rollout
        return min(self.rollout, 1 + epoch * self.rollout // self.epochs)
