"""How the first ensemble of a cycle is drawn."""

from abc import abstractmethod
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Window
from koopcast.numerics.arrays import normal
from koopcast.spec import Family, MethodSpec


class InitialSpec(MethodSpec):
    """Options of a first ensemble: states at the first record of the truth's window."""

    @abstractmethod
    def draw(
        self,
        dynamics: Dynamics,
        truth: FieldData,
        training: FieldData,
        size: tuple[int, int],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return float64 states; the batch is `sample * repeat`, repeats fastest, `size = (repeats,
        members)`.

        Raises:
            EmptySelection: The data hold fewer records than one state needs.
        """


class ClimatologySpec(InitialSpec):
    """States of the training data at random times, without replacement where there are enough."""

    kind: Literal["climatology"] = "climatology"

    reference = "the usual uninformed start of twin experiments"

    def draw(
        self,
        dynamics: Dynamics,
        truth: FieldData,
        training: FieldData,
        size: tuple[int, int],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return states of the training window."""
        batch, members = truth.view.num_samples * size[0], size[1]
        ends = history_ends(training, dynamics.history)
        chosen = torch.cat([_without_replacement(len(ends), members, generator) for _ in range(batch)])
        states = states_at(dynamics, training, [ends[i] for i in chosen.tolist()], generator.device)
        ensemble: Tensor = states.unflatten(0, (batch, members))
        return ensemble


class PerturbedSpec(InitialSpec):
    """The first state of the truth plus noise, twice: once for the centre of an experiment, once for each
    member.

    The truth is then as likely a draw from around the centre as each member is.
    """

    kind: Literal["perturbed"] = "perturbed"
    std: PositiveFloat | None = None
    """Standard deviation of the noise on each cell; this or `variance`."""
    variance: PositiveFloat | None = None
    """Its variance; default 1e-3."""

    reference = "as X0 in Sakov and Oke 2008 and the DAPPER benchmark suite"

    @model_validator(mode="after")
    def _is_given_once(self) -> "PerturbedSpec":
        if self.std is not None and self.variance is not None:
            raise ValueError("give one of std and variance, not both")
        return self

    def draw(
        self,
        dynamics: Dynamics,
        truth: FieldData,
        training: FieldData,
        size: tuple[int, int],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return the first state of the truth with both noises."""
        repeats, members = size
        start = truth.view.times[0]
        if start + 1 < dynamics.history:
            raise EmptySelection(
                f"a state needs {dynamics.history} records, and {start + 1} end at the first of the window",
                "use `initial: climatology`, or a window that starts later",
            )
        window = Window(truth.view.samples, (start + 1 - dynamics.history, start + 1))
        frames = truth.tensor(window=window, dtype=torch.float64).to(generator.device)
        active = truth.always_valid()[..., None].to(generator.device)
        frames = frames.repeat_interleave(repeats * members, dim=0)
        std = self.std if self.std is not None else (self.variance or 1e-3) ** 0.5
        centre = normal(window.num_samples * repeats, *frames.shape[1:], generator=generator)
        noise = centre.repeat_interleave(members, dim=0) + normal(*frames.shape, generator=generator)
        states: Tensor = dynamics.encode((frames + std * noise * active).to(dynamics.dtype)).double()
        ensemble: Tensor = states.unflatten(0, (-1, members))
        return ensemble


class ConstantSpec(InitialSpec):
    """The same value in every cell, with or without noise: a start that knows nothing."""

    kind: Literal["constant"] = "constant"
    value: float = 0.0
    """The value, in the units of the fields."""
    std: NonNegativeFloat = 0.0
    """Standard deviation of independent noise on each cell of each member; an ensemble needs some."""

    reference = "the usual start of observers: the field 0"

    def draw(
        self,
        dynamics: Dynamics,
        truth: FieldData,
        training: FieldData,
        size: tuple[int, int],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return the value plus noise, 0 in masked cells."""
        batch, members = truth.view.num_samples * size[0], size[1]
        info, device = truth.info, generator.device
        shape = (batch * members, dynamics.history, *info.shape, info.num_channels)
        frames = torch.full(shape, self.value, dtype=torch.float64, device=device)
        if self.std > 0:
            frames = frames + self.std * normal(*shape, generator=generator)
        frames = frames * truth.always_valid()[..., None].to(device)
        states: Tensor = dynamics.encode(frames.to(dynamics.dtype)).double()
        ensemble: Tensor = states.unflatten(0, (batch, members))
        return ensemble


AnyInitial: TypeAlias = Annotated[ClimatologySpec | ConstantSpec | PerturbedSpec, Family("initial")]


def history_ends(training: FieldData, history: int) -> list[tuple[int, int]]:
    """Return (sample, record) of every last frame of `history` consecutive ones within the window.

    Raises:
        EmptySelection: The window is shorter than one history.
    """
    view = training.view
    if view.num_times < history:
        raise EmptySelection(
            f"a state needs {history} records, but the training data hold {view.num_times}",
            "take a longer training part",
        )
    return [
        (sample, record)
        for sample in range(*view.samples)
        for record in range(view.times[0] + history - 1, view.times[1])
    ]


def states_at(
    dynamics: Dynamics, fields: FieldData, ends: list[tuple[int, int]], device: torch.device
) -> Float[Tensor, "state_number state"]:
    """Return the states, in float64, that histories ending at (sample, record) make."""
    history, wanted = dynamics.history, torch.tensor(ends)
    states = torch.empty(0)
    for sample in wanted[:, 0].unique().tolist():
        rows = (wanted[:, 0] == sample).nonzero()[:, 0]
        first, last = int(wanted[rows, 1].min()) + 1 - history, int(wanted[rows, 1].max()) + 1
        frames = fields.tensor(window=Window((sample, sample + 1), (first, last)), dtype=dynamics.dtype)[0]
        starts = wanted[rows, 1] + 1 - history - first
        histories = torch.stack([frames[start : start + history] for start in starts.tolist()])
        encoded = dynamics.encode(histories.to(device)).double()
        states = encoded.new_empty(len(ends), encoded.shape[1]) if states.numel() == 0 else states
        states[rows.to(device)] = encoded
    return states


def _without_replacement(count: int, draws: int, generator: torch.Generator) -> Tensor:
    """Return `draws` of `count` numbers; once all are used up, all are there again."""
    rounds = -(-draws // count)
    parts = [torch.randperm(count, generator=generator, device=generator.device) for _ in range(rounds)]
    return torch.cat(parts)[:draws]
