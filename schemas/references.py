"""Typed references between steps: `sst`, `sst.test`, `ks.system`, `runs://sst/latest/dynamics`."""

import re
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NAME = r"[A-Za-z][A-Za-z0-9_]*"
"""What a step may be called."""
SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""What a pipeline or a run may be called."""
LOCAL = re.compile(rf"({NAME})(?:\.({NAME}))?")
STORED = re.compile(rf"runs://({SLUG})/({SLUG})/({NAME})(?:\.({NAME}))?")
PATTERN = rf"^(runs://{SLUG}/{SLUG}/)?{NAME}(\.{NAME})?$"


class Kind:
    """What a step yields."""

    noun: str
    """Name of the kind in manifests and graphs."""
    words: str
    """The same in a sentence."""


class Dataset(Kind):
    """Fields: made by `ingest` and `generate`."""

    noun = "dataset"
    words = "a dataset"


class Model(Kind):
    """Something that forecasts fields: made by `train`; also the `system` of a `generate` step."""

    noun = "model"
    words = "a model"


class Analysis(Kind):
    """A sequence of analyses: made by `assimilate`."""

    noun = "analysis"
    words = "an analysis"


class Prior(Kind):
    """What fields look like: made by `learn_prior`."""

    noun = "prior"
    words = "a prior"


class Scores(Kind):
    """A table of scores: made by `evaluate`."""

    noun = "scores"
    words = "a table of scores"


KINDS: tuple[type[Kind], ...] = (Analysis, Dataset, Model, Prior, Scores)
T_co = TypeVar("T_co", covariant=True)


class Ref(Generic[T_co]):
    """The output of a step, or of an earlier run where `run` is set (`runs://<run>/<step>`). Immutable.

    Attributes:
        step: Name of the step.
        part: Part of its output.
        run: `<pipeline>/<run>` of an earlier run.
        kinds: What may stand here; empty for anything.
    """

    __slots__ = ("kinds", "part", "run", "step")

    def __init__(
        self, step: str, part: str | None = None, run: str | None = None, kinds: tuple[type[Kind], ...] = ()
    ) -> None:
        self.step, self.part, self.run, self.kinds = step, part, run, kinds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"Ref({str(self)!r})"

    def __str__(self) -> str:
        name = f"{self.step}.{self.part}" if self.part else self.step
        return f"runs://{self.run}/{name}" if self.run else name

    @property
    def label(self) -> str:
        """The name under which scores and figures show it: without the run."""
        return f"{self.step}.{self.part}" if self.part else self.step

    @classmethod
    def parse(cls, text: str, kinds: tuple[type[Kind], ...] = ()) -> "Ref[Any]":
        """Return the reference that `text` writes.

        Raises:
            PydanticCustomError: The text has not the form of a reference.
        """
        if match := LOCAL.fullmatch(text):
            return cls(match[1], match[2], None, kinds)
        if match := STORED.fullmatch(text):
            return cls(match[3], match[4], f"{match[1]}/{match[2]}", kinds)
        raise PydanticCustomError(
            "reference",
            "{given} is not a reference; write `step`, `step.part` or `runs://pipeline/run/step`",
            {"given": repr(text[:60])},
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take a text or a reference; write a text."""
        kinds = kinds_of(source)

        def validate(value: Any) -> "Ref[Any]":
            if isinstance(value, Ref):
                return value
            if not isinstance(value, str):
                raise PydanticCustomError("reference_type", "expected the name of a step", {})
            return cls.parse(value, kinds)

        return core_schema.no_info_plain_validator_function(
            validate,
            serialization=core_schema.to_string_ser_schema(),
            metadata={"kinds": kinds},
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe a reference as a text of its form."""
        kinds = schema.get("metadata", {}).get("kinds", ())
        return {"type": "string", "pattern": PATTERN, "description": f"Name of a step: {wanted(kinds)}."}


def kinds_of(source: Any) -> tuple[type[Kind], ...]:
    """Return the kinds in `Ref[Model]` or `Ref[Model | Analysis]`."""
    arguments = get_args(source)
    if not arguments:
        return ()
    return get_args(arguments[0]) if get_origin(arguments[0]) is not None else (arguments[0],)


def wanted(kinds: tuple[type[Kind], ...]) -> str:
    """Return `a model or an analysis`."""
    return " or ".join(kind.words for kind in kinds) or "anything"
