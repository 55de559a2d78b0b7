"""Which spec stands at a path of a document: for the legal keys in a message, for completion, for the
catalog.
"""

import re
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from koopcast.spec import Family, Path, Spec, members

TAGS = ("kind", "task")
"""Keys that pick a class."""


def spec_at(root: type[Spec], value: Any, path: Path) -> type[Spec] | None:
    """Return the spec class of the block at `path` of `value`, a document whose top is `root`; None if
    unclear.
    """
    return chosen(annotation_at(root, value, path), item_at(value, path))


def annotation_at(root: type[Spec], value: Any, path: Path) -> Any:
    """Return the annotation of what stands at `path` of `value`; None if unclear."""
    annotation: Any = root
    for part in path:
        annotation = _below(annotation, value, part)
        value = item(value, part)
    return annotation


def tags(annotation: Any) -> list[str]:
    """Return the kinds (or tasks) that an annotation offers."""
    specs = [
        choice for choice in alternatives(annotation) if isinstance(choice, type) and issubclass(choice, Spec)
    ]
    return sorted(default(spec, name) for spec in specs for name in TAGS if name in spec.model_fields)


def chosen(annotation: Any, value: Any) -> type[Spec] | None:
    """Return the spec class that `value` picks among those of an annotation."""
    specs = [
        choice for choice in alternatives(annotation) if isinstance(choice, type) and issubclass(choice, Spec)
    ]
    tag = tag_of(value)
    for spec in specs:
        if tag is not None and any(name in spec.model_fields and default(spec, name) == tag for name in TAGS):
            return spec
    return specs[0] if len(specs) == 1 and not any(name in specs[0].model_fields for name in TAGS) else None


def tag_of(value: Any) -> str | None:
    """Return the text that picks the class of a block: its `kind` or `task`, or the bare string itself."""
    if isinstance(value, str):
        return value
    tags = [value[name] for name in TAGS if name in value] if isinstance(value, dict) else []
    return tags[0] if tags and isinstance(tags[0], str) else None


def default(spec: type[Spec], name: str) -> Any:
    """Return the default of a field."""
    return spec.model_fields[name].default


def annotation_of(field: FieldInfo) -> Any:
    """Return the annotation of a field with its metadata, as it was written."""
    annotation: Any = field.annotation
    return Annotated[(annotation, *field.metadata)] if field.metadata else annotation


def alternatives(annotation: Any) -> list[Any]:
    """Return what an annotation allows, unions and families taken apart."""
    if get_origin(annotation) is Annotated:
        if any(isinstance(note, Family) for note in get_args(annotation)[1:]):
            return list(members(annotation))
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [choice for branch in get_args(annotation) for choice in alternatives(branch)]
    return [] if annotation is NoneType else [annotation]


def item(value: Any, part: str | int) -> Any:
    """Return what stands at a key or an index; None where nothing does."""
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) and part < len(value) else None


def item_at(value: Any, path: Path) -> Any:
    """Return what stands at a path; None where nothing does."""
    for part in path:
        value = item(value, part)
    return value


def quoted_path(message: str, value: Any) -> Path:
    """Return where, in the options `value`, stands what a message quotes: 'text' a value, `name` a key."""
    texts = (_path_of(text, value) for text in reversed(re.findall(r"'([^']+)'", message)))
    names = ((name,) for name in re.findall(r"`(\w+)`", message) if isinstance(value, dict) and name in value)
    return next((path for path in (*texts, *names) if path), ())


def _path_of(text: str, value: Any, path: Path = ()) -> Path:
    """Return where a text stands, alone or as an end of a range; empty where it does not."""
    if isinstance(value, str):
        return path if text in (value, *value.split("..")) else ()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next(filter(None, (_path_of(text, below, (*path, name)) for name, below in items)), ())


def _below(annotation: Any, value: Any, part: str | int) -> Any:
    spec = chosen(annotation, value)
    if spec is not None:
        return annotation_of(spec.model_fields[str(part)]) if part in spec.model_fields else None
    for choice in alternatives(annotation):
        origin, arguments = get_origin(choice), get_args(choice)
        if origin is dict and isinstance(value, dict):
            return arguments[1]
        if origin is list and isinstance(value, list):
            return arguments[0]
        if origin is tuple and isinstance(value, list) and isinstance(part, int):
            return arguments[min(part, len(arguments) - 1)] if Ellipsis not in arguments else arguments[0]
    return None
