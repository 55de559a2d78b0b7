"""What every step has, and what is known of its output before it exists."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt

from koopcast.grids import FieldsInfo
from koopcast.mapping import Signature
from koopcast.spec import Path, Problem, Spec
from koopcast.split import ORDER, Split
from schemas.references import Dataset, Kind, Ref
from schemas.walk import quoted_path

NOT_IN_KEY: dict[str, Any] = {"key": False}
"""Marks an option that cannot change results: it stays out of the key of the artefact."""


@dataclass(frozen=True)
class Contract:
    """What is known of an output before it exists."""

    kind: type[Kind]
    fields: FieldsInfo
    """Of a dataset its own; of a model those it forecasts; of an analysis those it analyses."""
    dataset: Ref[Dataset] | None = None
    """What a model was learned from, or an analysis made of."""
    begin: int = 0
    """Absolute index of the first record of a part."""
    history: int = 1
    """Consecutive records that make one state of a model."""
    is_localizable: bool = True
    """Whether the state of a model is the field itself."""
    mapping: Signature | None = None
    """What a model maps to what, where it is a map and forecasts nothing."""
    transfers: bool = False
    """Whether a model works on other grids than its own."""
    has_correction: bool = False
    """Whether a model holds a learned gain."""
    members: int = 1
    """Size of the ensemble that an analysis keeps."""

    def part(self, name: str | None) -> "Contract":
        """Return the contract of a part of a dataset."""
        if name is None or name not in self.fields.parts:
            return self
        return replace(self, fields=self.fields.narrowed(name), begin=self.fields.parts[name].times[0])


Inputs = Mapping[str, Contract]
"""The contract of each reference of a step, by its text."""


class Step(Spec):
    """What every step has."""

    yields: ClassVar[type[Kind]]
    retries: NonNegativeInt = Field(0, le=10, json_schema_extra=NOT_IN_KEY)
    """How often to try again after a failure of the machine (never after invalid input)."""
    device: str = Field("auto", json_schema_extra=NOT_IN_KEY)
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def parts(self) -> Mapping[str, type[Kind]]:
        """Return the names that may follow the step's own in a reference, with what each yields."""
        return {}

    @abstractmethod
    def modules(self) -> tuple[str, ...]:
        """Return the modules that do the step's work, beside those of the specs that it holds."""

    @abstractmethod
    def outline(self, inputs: Inputs) -> Contract:
        """Return the contract of the output.

        Raises:
            KoopcastError: The options or the inputs allow none; `faulty_option` says which option to blame.
        """

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Yield what the options break on these inputs, beyond what the specs below see for themselves."""
        yield from ()

    def stream_name(self, name: str) -> str:
        """Return the name of the random stream of the step `name`: its own."""
        return name

    def faulty_option(self, error: Exception) -> Path:
        """Return the path of the option that an error of `outline` speaks of."""
        text = str(error)
        if match := re.match(r"part '(\w+)' asks for (\w+)", text):
            return ("split", match[2], match[1])
        return quoted_path(text, self.model_dump(mode="json")) or (("split",) if "part" in text else ())


def split_parts(split: Split | None) -> dict[str, type[Kind]]:
    """Return the parts that a split makes, each a dataset."""
    written = {**(split.time or {}), **(split.sample or {})} if split else {}
    return {name: Dataset for name in ORDER if name in written}


def mismatch(model: FieldsInfo, data: FieldsInfo) -> str | None:
    """Return in what a model's fields differ from those that it meets, in words; None where they fit."""
    if data.is_stationary:
        return "forecasts, and the data have no time"
    if tuple(model.variables) != tuple(data.variables):
        return f"forecasts {', '.join(model.variables)}, the data hold {', '.join(data.variables)}"
    if model.shape != data.shape:
        return f"forecasts a grid {model.shape}, the data have {data.shape}"
    if (model.time.step, model.time.units) != (data.time.step, data.time.units):
        one, other = (f"{time.step} {time.units}" for time in (model.time, data.time))
        return f"has a step of {one}, a record of the data is {other}"
    return None
