"""What the language offers: families, methods, options; `python -m schemas.catalog` writes
schemas/CATALOG.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from koopcast.errors import InvalidInput
from koopcast.spec import Family, MethodSpec, Spec, kind_of, members
from schemas.cycle import Cycle
from schemas.faults import hint, shown
from schemas.jsonschema import cycle_schema, to_text
from schemas.pipeline import Pipeline
from schemas.references import Ref, kinds_of, wanted
from schemas.stages import AnyStep, Step
from schemas.walk import TAGS, alternatives, annotation_of

FILE = Path(__file__).parent / "CATALOG.md"
SCHEMA_FILE = Path(__file__).parent / "pipeline.schema.json"
CYCLE_SCHEMA_FILE = Path(__file__).parent / "cycle.schema.json"
HEADER = """# Catalog

Written by `python -m schemas.catalog` from the options themselves; do not edit.
A method is picked by its name, `model: edmd`, or with options, `model: {kind: edmd, rank: 8}`.
"""
SIMPLE = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def families() -> dict[str, tuple[type[MethodSpec], ...]]:
    """Return the families that a pipeline or a cycle can reach, by name, each with its methods."""
    found: dict[str, tuple[type[MethodSpec], ...]] = {}
    seen: set[type[Spec]] = set()

    def visit(annotation: Any) -> None:
        if get_origin(annotation) is Annotated:
            _register(annotation, found)
        if isinstance(annotation, type) and issubclass(annotation, Spec):
            if annotation not in seen:
                seen.add(annotation)
                for field in annotation.model_fields.values():
                    visit(annotation_of(field))
            return
        for argument in get_args(annotation):
            visit(argument)

    visit(Pipeline)
    visit(Cycle)
    for methods in list(found.values()):
        for method in methods:
            visit(method)
    return dict(sorted(found.items()))


def _register(annotation: Any, found: dict[str, tuple[type[MethodSpec], ...]]) -> None:
    source, *notes = get_args(annotation)
    is_sum = any(get_origin(branch) is Annotated for branch in get_args(source))
    for note in notes:
        if isinstance(note, Family) and not is_sum:
            found[note.name] = members(annotation)


def steps() -> tuple[type[Step], ...]:
    """Return the steps of the language."""
    return tuple(sorted(alternatives(AnyStep), key=lambda step: str(step.model_fields["task"].default)))


def overview() -> str:
    """Return one line a method, family by family."""
    lines = [f"steps\n{_lines({str(step.model_fields['task'].default): step for step in steps()})}"]
    lines += [
        f"{name}\n{_lines({kind_of(spec): spec for spec in specs})}" for name, specs in families().items()
    ]
    return "\n\n".join(lines) + "\n"


def _lines(specs: dict[str, Any]) -> str:
    width = max(map(len, specs), default=0)
    return "\n".join(f"  {name:<{width}}  {first_sentence(spec)}" for name, spec in specs.items())


def describe(name: str) -> str:
    """Return the description of a family, a method or a step.

    Raises:
        InvalidInput: There is none of this name.
    """
    known = families()
    if name in known:
        return "\n".join(describe_spec(spec) for spec in known[name])
    found = [spec for specs in known.values() for spec in specs if kind_of(spec) == name]
    found_steps = [step for step in steps() if step.model_fields["task"].default == name]
    if not found and not found_steps:
        kinds = {kind_of(spec) for specs in known.values() for spec in specs}
        tasks = {str(step.model_fields["task"].default) for step in steps()}
        raise InvalidInput(
            f"there is no family, method or step '{name}'{hint(name, {*known, *kinds, *tasks})}"
        )
    return "\n".join(describe_spec(spec) for spec in (*found, *found_steps))


def describe_spec(spec: type[Spec]) -> str:
    """Return a section on one method or step: what it does, where it comes from, its options."""
    name = str(next(spec.model_fields[tag].default for tag in TAGS if tag in spec.model_fields))
    lines = [f"### {name}", "", " ".join((spec.__doc__ or "").split()), ""]
    if issubclass(spec, MethodSpec):
        lines += [f"Reference: {spec.reference}", ""]
    options = [(key, field) for key, field in spec.model_fields.items() if key not in TAGS]
    if options:
        lines += ["| option | value | default | meaning |", "|---|---|---|---|"]
        lines += [row for key, field in options for row in _rows(key, field)]
        lines.append("")
    return "\n".join(lines)


def _rows(name: str, field: FieldInfo) -> Iterator[str]:
    """Yield the row of an option, and those of the options inside it where it is a block."""
    yield _row(name, field)
    for block in alternatives(field.annotation):
        if isinstance(block, type) and issubclass(block, Spec) and not issubclass(block, MethodSpec):
            for inner, below in block.model_fields.items():
                yield from _rows(f"{name}.{inner}", below)


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    cells = (f"`{name}`", type_text(annotation_of(field)), default_text(field), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default_text(field: FieldInfo) -> str:
    """Return a default as YAML writes it; a required option says so."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, MethodSpec):
        return f"`{value.kind}`"
    if isinstance(value, Spec):
        return "its defaults"
    if isinstance(value, (list, tuple)):
        items = (item.kind if isinstance(item, MethodSpec) else str(item) for item in value)
        return f"`[{', '.join(items)}]`"
    if value is None or isinstance(value, bool):
        return f"`{shown(value)}`"
    return "`{}`" if value == {} else f"`{value}`"


def type_text(annotation: Any) -> str:
    """Return what an option takes, in words, with its bounds."""
    if get_origin(annotation) is Annotated:
        source, *notes = get_args(annotation)
        family = next((note.name for note in notes if isinstance(note, Family)), None)
        if family is not None:
            return f"method of {family}"
        return " ".join([type_text(source), ", ".join(sorted(_bounds(notes), key=_is_upper))]).strip()
    if annotation in SIMPLE:
        return SIMPLE[annotation]
    if get_origin(annotation) is Ref or annotation is Ref:
        return f"name of a step ({wanted(kinds_of(annotation)).replace(' or ', ', ')})"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in arguments)
    if origin is list:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"map of {type_text(arguments[0])} to {type_text(arguments[1])}"
    if origin is tuple:
        return f"list ({', '.join(type_text(item) for item in arguments if item is not Ellipsis)})"
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return "block"
    return (
        " or ".join(dict.fromkeys(type_text(item) for item in arguments if item is not type(None))) or "null"
    )


def _bounds(notes: list[Any]) -> Iterator[str]:
    for note in _flat(notes):
        match note:
            case Gt():
                yield f"> {note.gt}"
            case Ge():
                yield f"≥ {note.ge}"
            case Lt():
                yield f"< {note.lt}"
            case Le():
                yield f"≤ {note.le}"
            case MultipleOf():
                yield f"multiple of {note.multiple_of}"
            case MinLen():
                yield f"(at least {note.min_length})"
            case MaxLen():
                yield f"(at most {note.max_length})"


def _is_upper(bound: str) -> bool:
    return bound[0] in "<≤"


def _flat(notes: list[Any]) -> Iterator[Any]:
    for note in notes:
        yield from note.metadata if isinstance(note, FieldInfo) else [note]


def first_sentence(spec: type[Spec]) -> str:
    """Return the first sentence of a docstring."""
    return " ".join((spec.__doc__ or "").split("\n\n")[0].split())


def to_markdown() -> str:
    """Return the catalog."""
    parts = [HEADER, "## Steps\n", *(describe_spec(step) for step in steps())]
    for name, specs in families().items():
        parts += [f"## {name}\n", *(describe_spec(spec) for spec in specs)]
    return "\n".join(parts).rstrip() + "\n"


def write() -> None:
    """Write the catalog, and the JSON Schemas that the files of this repository name."""
    FILE.write_text(to_markdown(), encoding="utf-8")
    SCHEMA_FILE.write_text(to_text(), encoding="utf-8")
    CYCLE_SCHEMA_FILE.write_text(to_text(cycle_schema()), encoding="utf-8")


if __name__ == "__main__":
    write()
