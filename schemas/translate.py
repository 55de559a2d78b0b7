"""Pydantic's errors in the words of a pipeline: path in the YAML, what was given, what is allowed, what
to do.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from koopcast.spec import Path, Spec
from schemas.faults import Fault, hint, shown
from schemas.positions import Node, mark_of
from schemas.walk import TAGS, alternatives, annotation_at, item, item_at, quoted_path, spec_at, tags

NUMERAL = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a block of options",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a block of options",
    "model_attributes_type": "a block of options",
    "model_type": "a block of options",
    "none_required": "null",
    "number_type": "a number",
    "reference_type": "the name of a step",
    "string_type": "a text",
    "tuple_type": "a list",
}
BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def translate(
    error: ValidationError, value: Any, top: type[Spec], root: Node, prefix: Path = ()
) -> list[Fault]:
    """Return the faults that a validation error of `value[prefix]` stands for.

    Args:
        error: Of the validation of the part of the document below `prefix`.
        value: The whole document.
        top: The spec class of the whole document.
        root: The document's nodes.
        prefix: Path of the part that was validated.
    """
    groups: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path = prefix + _yaml_path(item_at(value, prefix), detail)
        groups.setdefault(path, []).append(detail)
    # What has faults within was looked into: by that member of a union for which it has the right type.
    seen_within = {path[:length] for path in groups for length in range(len(path))}
    for path in seen_within & groups.keys():
        if all(detail["type"] in EXPECTED for detail in groups[path]):
            del groups[path]
    return [fault for path, details in groups.items() for fault in _faults(path, details, value, top, root)]


def _yaml_path(value: Any, detail: ErrorDetails) -> Path:
    """Return the location of an error without what pydantic adds to it: tags and names of union members."""
    result: list[str | int] = []
    tag_is_next = True
    names = [*detail["loc"]]
    for position, part in enumerate(names):
        is_last = position == len(names) - 1
        tags = [value.get(name) for name in TAGS] if isinstance(value, dict) else [value]
        is_tag = tag_is_next and part in tags and not (is_last and detail["type"] == "missing")
        if is_tag:
            tag_is_next = False
        elif _exists(value, part) or (is_last and detail["type"] == "missing"):
            result.append(part)
            value, tag_is_next = item(value, part), True
    return tuple(result)


def _exists(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _faults(
    path: Path, details: list[ErrorDetails], value: Any, top: type[Spec], root: Node
) -> Iterable[Fault]:
    kinds = tags(annotation_at(top, value, path))
    block = spec_at(top, value, path) or _only_block(annotation_at(top, value, path))
    phrases = dict.fromkeys(_phrase(detail, kinds, block) for detail in details)
    is_union = len(details) > 1
    special = [
        detail for detail in details if detail["type"] not in EXPECTED and not (is_union and _phrase(detail))
    ]
    if special:
        yield from (_fault(path, detail, value, top, root) for detail in special)
        return
    given = details[0]["input"]
    message = f"expected {' or '.join(phrases)}, was given {shown(given)}{_advice(phrases, given)}"
    yield mark_of(root, path).fault(path, message)


def _phrase(detail: ErrorDetails, kinds: Sequence[str] = (), block: type[Spec] | None = None) -> str:
    """Return what one branch of a union expects; empty where its error says more than that."""
    if detail["type"] in BOUNDS:
        name, words = BOUNDS[detail["type"]]
        return f"a number {words} {detail['ctx'][name]:g}"
    if detail["type"] == "literal_error":
        return str(detail["ctx"]["expected"])
    if detail["type"] == "model_attributes_type" and kinds:
        return f"a block with `kind`, or one of {', '.join(kinds)}"
    if detail["type"] == "model_type" and block is not None:
        return f"a block with {', '.join(block.model_fields)}"
    return EXPECTED.get(detail["type"], "")


def _only_block(annotation: Any) -> type[Spec] | None:
    blocks = [
        choice for choice in alternatives(annotation) if isinstance(choice, type) and issubclass(choice, Spec)
    ]
    return blocks[0] if len(blocks) == 1 else None


def _advice(phrases: Mapping[str, Any], given: Any) -> str:
    if isinstance(given, str) and NUMERAL.fullmatch(given) and any("number" in phrase for phrase in phrases):
        return "; remove the quotes"
    if "true or false" in phrases and isinstance(given, str) and given.lower() in ("on", "yes", "off", "no"):
        return f"; write {shown(given.lower() in ('on', 'yes'))}"
    if "a text" in phrases and not isinstance(given, (dict, list)) and given is not None:
        return "; quote it"
    if "a list" in phrases and isinstance(given, (str, int, float)):
        return f"; write [{given}]"
    return ""


def _fault(path: Path, detail: ErrorDetails, value: Any, top: type[Spec], root: Node) -> Fault:
    context: Mapping[str, Any] = detail.get("ctx", {})
    given = detail["input"]
    match detail["type"]:
        case "union_tag_invalid" | "union_tag_not_found":
            return _wrong_tag(path, detail, value, top, root)
        case "extra_forbidden":
            return mark_of(root, path, key=True).fault(path, _unknown_key(path, value, top))
        case "missing":
            return mark_of(root, path[:-1], key=True).fault(path[:-1], _missing(path, value, top))
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", str(context["expected"]))
            message = f"{shown(given)} is not allowed here{hint(str(given), allowed, 'allowed')}"
        case "too_short" | "too_long":
            bound = context.get("min_length", context.get("max_length"))
            side = "at least" if "min_length" in context else "at most"
            message = f"needs {side} {bound} item{'' if bound == 1 else 's'}, was given {shown(given)}"
        case "string_too_short":
            message = "must not be empty"
        case "string_pattern_mismatch":
            message = f"{shown(given)} is not of the form {context['pattern']}"
        case "finite_number":
            message = f"{given} is not a finite number; write one"
        case "value_error":
            return _value_fault(path, str(context["error"]), value, top, root)
        case kind if kind in BOUNDS:
            name, words = BOUNDS[kind]
            message = f"must be {words} {context[name]:g}, was given {shown(given)}"
        case _:
            message = detail["msg"]
    is_name = detail["loc"][-1:] == ("[key]",)
    return mark_of(root, path, key=is_name).fault(path, message)


def _value_fault(path: Path, message: str, value: Any, top: type[Spec], root: Node) -> Fault:
    """Return the fault of a validator, put at the option with which its message begins or that it quotes."""
    start, _, rest = message.partition(": ")
    spec = spec_at(top, value, path)
    if rest and spec is not None and start.split(".")[0] in spec.model_fields:
        path, message = (*path, *start.split(".")), rest
    else:
        path = (*path, *quoted_path(message, item_at(value, path)))
    return mark_of(root, path).fault(path, message)


def _wrong_tag(path: Path, detail: ErrorDetails, value: Any, top: type[Spec], root: Node) -> Fault:
    tag = detail["ctx"]["discriminator"].strip("'")
    given = detail["input"]
    mark = mark_of(root, (*path, tag)) if isinstance(given, dict) and tag in given else mark_of(root, path)
    if detail["type"] == "union_tag_not_found":
        known = ", ".join(tags(annotation_at(top, value, path)))
        return mark_of(root, path, key=True).fault(path, f"`{tag}` is required: one of {known}")
    known_tags = re.findall(r"'([^']*)'", detail["ctx"]["expected_tags"])
    given_tag = str(detail["ctx"]["tag"])
    return mark.fault(path, f"unknown {tag} {shown(given_tag)}{hint(given_tag, known_tags)}")


def _unknown_key(path: Path, value: Any, top: type[Spec]) -> str:
    name = str(path[-1])
    spec = spec_at(top, value, path[:-1])
    return f"unknown key '{name}'{hint(name, spec.model_fields if spec else (), 'keys')}"


def _missing(path: Path, value: Any, top: type[Spec]) -> str:
    spec, name = spec_at(top, value, path[:-1]), path[-1]
    if isinstance(name, int):
        return f"item {name + 1} is missing; the list is too short"
    about = (spec.model_fields[name].description or "") if spec and name in spec.model_fields else ""
    sentence = " ".join(about.split()).split(". ")[0].rstrip(".")
    return f"`{name}` is required{f': {sentence[0].lower()}{sentence[1:]}' if sentence else '; add it'}"
