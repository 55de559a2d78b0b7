"""Options of a training."""

from collections.abc import Iterator

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

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


class TrainingSpec(Spec):
    """How a network is trained. The weights kept are those of the epoch with the least loss on the `valid`
    part.
    """

    epochs: PositiveInt = 20
    """Passes over the training part."""
    batch_size: PositiveInt = 16
    """Runs of frames a step."""
    micro_batch: PositiveInt | None = None
    """Runs computed at once; gradients are summed over the batch. Default: what fits a processor's cache."""
    loss: AnyLoss = Field(default="rel_l2", validate_default=True)
    """What is made small."""
    optimizer: AnyOptimizer = Field(default="adamw", validate_default=True)
    """How the weights move."""
    schedule: AnySchedule = Field(default="one_cycle", validate_default=True)
    """How the learning rate changes from batch to batch."""
    grad_clip: PositiveFloat | None = 1.0
    """Largest norm of the gradient; a longer one is shortened to it."""
    early_stopping: EarlyStopping | None = None
    """Stop when the `valid` part no longer gains; default: never."""
    rollout: PositiveInt = 1
    """Steps that the model makes from each start, its own frames as input; the loss is the mean over them."""
    noise: NonNegativeFloat = 0.0
    """Standard deviation of noise added to the input frames, in units of each variable's spread."""
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
