"""What a model learns to map to what: records of some variables to records of others, or to the next one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.spec import Problem, Spec

Names = tuple[str, ...]
Starts = Literal["first", "any"]


@dataclass(frozen=True)
class Signature:
    """What a network is given and what it returns: frames of variables on one grid, frames as channels.

    Channel `frame * variables + variable`, the oldest frame first.
    """

    axes: tuple[Axis, ...]
    inputs: Names
    outputs: Names
    frames_in: int
    frames_out: int
    time: TimeAxis
    ahead: bool = True
    """Whether the frames that are returned follow those that are given; else they are of the same times."""
    is_dynamics: bool = False
    """Whether it maps the last records of all variables to the next one."""
    starts: Starts = "any"
    """Where in a trajectory a pair begins: at its first record alone, or at any."""

    @classmethod
    def of_dynamics(cls, fields: FieldsInfo, history: int) -> "Signature":
        """Return the signature of a step from `history` records to the next one."""
        names = tuple(fields.variables)
        return cls(fields.axes, names, names, history, 1, fields.time, is_dynamics=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points of each space axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def channels_in(self) -> int:
        """Channels that the network is given."""
        return self.frames_in * len(self.inputs)

    @property
    def channels_out(self) -> int:
        """Channels that the network returns."""
        return self.frames_out * len(self.outputs)

    @property
    def num_frames(self) -> int:
        """Consecutive records that hold one pair of input and output."""
        return self.frames_in + self.frames_out if self.ahead else self.frames_in

    def on(self, axes: tuple[Axis, ...]) -> "Signature":
        """Return the same on another grid."""
        return replace(self, axes=axes)

    def given(
        self, run: Float[Tensor, "batch frame *space channel"], variables: Names
    ) -> Float[Tensor, "batch given *space channel_in"]:
        """Return what the network is given of a run of records whose channels are `variables`."""
        return run[:, : self.frames_in][..., _places(self.inputs, variables)]

    def target(
        self, run: Float[Tensor, "batch frame *space channel"], variables: Names
    ) -> Float[Tensor, "batch predicted *space channel_out"]:
        """Return what the network should return for that run."""
        first = self.frames_in if self.ahead else 0
        return run[:, first : first + self.frames_out][..., _places(self.outputs, variables)]

    def seen_fields(self, fields: FieldsInfo) -> FieldsInfo:
        """Return the contract of the records that pairs are made of."""
        if self.starts == "any":
            return fields
        return replace(fields, time=replace(fields.time, size=min(fields.time.size, self.num_frames)))

    def seen(self, data: FieldData) -> FieldData:
        """Return the records in the window of `data` that pairs are made of."""
        view = data.view
        if self.starts == "any":
            return data
        length = min(view.num_times, self.num_frames)
        return replace(data, window=Window(view.samples, (view.times[0], view.times[0] + length)))


def _places(names: Names, variables: Names) -> list[int]:
    return [variables.index(name) for name in names]


class MappingSpec(Spec):
    """A map from fields to fields: between variables of the same record, or from the records given to those
    after them.
    """

    inputs: Names | None = Field(None, min_length=1)
    """Variables that the model is given; default: all."""
    outputs: Names | None = Field(None, min_length=1)
    """Variables that it returns; default: all."""
    given: PositiveInt = 1
    """Records that it is given."""
    predicted: NonNegativeInt = 0
    """Records after those given that it returns at once; 0: the outputs belong to the given records."""
    starts: Starts = "first"
    """Where in a trajectory a pair begins: at its first record alone, or at any."""

    def signature(self, fields: FieldsInfo) -> Signature:
        """Return what is mapped to what on fields like these."""
        names = tuple(fields.variables)
        return Signature(
            axes=fields.axes,
            inputs=self.inputs or names,
            outputs=self.outputs or names,
            frames_in=self.given,
            frames_out=self.predicted or self.given,
            time=fields.time,
            ahead=self.predicted > 0,
            starts=self.starts,
        )

    def faults(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what is wrong with the map on the fields that it is learned from."""
        for option, names in (("inputs", self.inputs or ()), ("outputs", self.outputs or ())):
            for index, name in enumerate(names):
                if name not in fields.variables:
                    known = ", ".join(fields.variables)
                    yield Problem(
                        (option, index), f"the fields have no variable '{name}' (there are: {known})"
                    )
                elif name in names[:index]:
                    yield Problem((option, index), f"'{name}' was named before; remove it")
        inputs, outputs = (set(names or fields.variables) for names in (self.inputs, self.outputs))
        if not self.predicted and inputs & outputs:
            both = ", ".join(sorted(inputs & outputs))
            yield Problem(
                (),
                f"'{both}' is given and asked for at the same times; name `inputs` and `outputs` that "
                "differ, or give `predicted`, the records to come",
            )
        if fields.time.size < self.given + self.predicted:
            yield Problem(
                ("predicted",) if self.predicted else ("given",),
                f"{self.given + self.predicted} records do not fit into the {fields.time.size} of a sample; "
                "lower `given` or `predicted`",
            )
