"""Options of methods: frozen, closed, and gathered in unions that are the registry."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

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


def _without_coercion(schema: Any, owner: type) -> Any:
    """Return a core schema whose numbers refuse text and truth values; specs below saw to theirs already."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(_without_coercion(item, owner) for item in schema)
    if not isinstance(schema, dict) or schema.get("cls", owner) is not owner:
        return schema
    kind = schema.get("type")
    if kind == "bool":
        return {**schema, "strict": True}
    if kind in ("int", "float"):
        return core_schema.no_info_before_validator_function(
            _refuse_text_and_truth, cast("CoreSchema", schema)
        )
    untouched = ("default", "metadata", "serialization")
    return {
        key: value if key in untouched else _without_coercion(value, owner) for key, value in schema.items()
    }


def _refuse_text_and_truth(value: Any) -> Any:
    if isinstance(value, (str, bytes, bool)):
        raise PydanticCustomError("number_type", "expected a number")
    return value


class Spec(BaseModel):
    """Options of one thing: immutable, no unknown keys, documented by the string under each field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> CoreSchema:
        """Take numbers and truth values as written: `"12"`, `true` and `1` do not stand for one another."""
        return cast("CoreSchema", _without_coercion(handler(source), cls))

    def check(self, fields: "FieldsInfo") -> Iterator[Problem]:
        """Yield the rules that these options break on fields of the given shape."""
        yield from ()


class MethodSpec(Spec):
    """Options of one method of a family; `kind` names it, `build` makes it."""

    kind: str
    reference: ClassVar[str]
    """Where the method comes from, and where it departs from there."""


class Family:
    """Annotation that turns a union of method specs, or of families, into a family of the language.

    It reads `kind` to pick the class, takes a bare string as `{kind: string}`, and adds the methods that
    other distributions offer under the entry-point group `koopcast.<family>`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        specs = (*_union_members(source), *plugins(self.name))
        choices = {kind_of(spec): handler.generate_schema(spec) for spec in specs}
        union = core_schema.tagged_union_schema(choices, discriminator="kind")
        bare = core_schema.literal_schema(list(choices))
        return core_schema.no_info_before_validator_function(
            _expand_bare_string, union, json_schema_input_schema=core_schema.union_schema([union, bare])
        )


def _expand_bare_string(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _union_members(source: Any) -> tuple[type[MethodSpec], ...]:
    if get_origin(source) is Annotated:
        return members(source)
    if get_origin(source) is None:
        return (source,)
    return tuple(spec for item in get_args(source) for spec in _union_members(item))


@cache
def plugins(family: str) -> tuple[type[MethodSpec], ...]:
    """Return the method specs that installed distributions add to a family, by entry-point name."""
    found = {entry.name: entry for entry in _offered() if entry.group == f"koopcast.{family}"}
    return tuple(found[name].load() for name in sorted(found))


@cache
def _offered() -> tuple[EntryPoint, ...]:
    """Return what all installed distributions offer to us: reading it takes a while."""
    everything = (entry for package in distributions() for entry in package.entry_points)
    return tuple(entry for entry in everything if entry.group.startswith("koopcast."))


def members(union: Any) -> tuple[type[MethodSpec], ...]:
    """Return the method specs of a family such as `AnySystem`, plug-ins included."""
    source, *annotations = get_args(union)
    family = next(item for item in annotations if isinstance(item, Family))
    return (*_union_members(source), *plugins(family.name))


def kind_of(spec: type[MethodSpec]) -> str:
    """Return the name by which YAML picks a method."""
    return str(spec.model_fields["kind"].default)
