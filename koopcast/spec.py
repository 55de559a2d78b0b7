"""Options of methods: frozen, closed, and gathered in unions that are the registry."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

if TYPE_CHECKING:
    from koopcast.grids import FieldsInfo

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """A rule that an option breaks: where below the spec, and what to do."""

    path: Path
    message: str

    def below(self, *prefix: str | int) -> "Problem":
        """Return the same problem seen from the spec that holds this one at `prefix`."""
        return Problem((*prefix, *self.path), self.message)


class Spec(BaseModel):
    """Options of one thing: immutable, no unknown keys, documented by the string under each field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )

    def check(self, fields: "FieldsInfo") -> Iterator[Problem]:
        """Yield the rules that these options break on fields of the given shape."""
        yield from ()


class MethodSpec(Spec):
    """Options of one method of a family; `kind` names it, `build` makes it."""

    kind: str
    reference: ClassVar[str]
    """Where the method comes from, and where it departs from there."""


class Family:
    """Annotation that turns a union of method specs into a family of the language.

    It reads `kind` to pick the class, takes a bare string as `{kind: string}`, and adds the methods that other
    distributions offer under the entry-point group `koopcast.<family>`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        specs = (*_union_members(source), *plugins(self.name))
        names = tuple(kind_of(spec) for spec in specs)
        bare = Literal[names]  # type: ignore[valid-type]
        union: Any = Annotated[Union[specs], Field(discriminator="kind")] if len(specs) > 1 else specs[0]  # noqa: UP007
        return handler.generate_schema(
            Annotated[union, BeforeValidator(_expand_bare_string, json_schema_input_type=Union[union, bare])]  # noqa: UP007
        )


def _expand_bare_string(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _union_members(source: Any) -> tuple[type[MethodSpec], ...]:
    return get_args(source) if get_origin(source) is not None else (source,)


@cache
def plugins(family: str) -> tuple[type[MethodSpec], ...]:
    """Return the method specs that installed distributions add to a family, by entry-point name."""
    found = entry_points(group=f"koopcast.{family}")
    return tuple(entry.load() for entry in sorted(found, key=lambda entry: entry.name))


def members(union: Any) -> tuple[type[MethodSpec], ...]:
    """Return the method specs of a family such as `AnySystem`, plug-ins included."""
    source, *annotations = get_args(union)
    family = next(item for item in annotations if isinstance(item, Family))
    return (*_union_members(source), *plugins(family.name))


def kind_of(spec: type[MethodSpec]) -> str:
    """Return the name by which YAML picks a method."""
    return str(spec.model_fields["kind"].default)
