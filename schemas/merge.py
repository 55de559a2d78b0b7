"""One document from several: `extends` lays a file over another, `--set` lays a value over a file."""

from collections.abc import Iterable
from collections.abc import Mapping as MappingType
from pathlib import Path as FilePath

from koopcast.errors import OutsideRoots
from koopcast.sources.paths import demand_root
from koopcast.spec import Path
from schemas.faults import Fault, PipelineInvalid, dotted, hint, shown
from schemas.load import parse_value, read
from schemas.positions import Entry, Mapping, Mark, Node, Scalar, Sequence, mark_of
from schemas.walk import TAGS

EXTENDS = "extends"
LONGEST_LABEL = 100


def read_extended(file: FilePath, chain: tuple[FilePath, ...] = ()) -> Mapping:
    """Return the document in `file`, laid over the one that it extends, and that over the next.

    Raises:
        PipelineInvalid: A file cannot be read, or the files extend one another in a loop.
    """
    document = read(file)
    if EXTENDS not in document.entries:
        return document
    mark = mark_of(document, (EXTENDS,))
    own = Mapping({name: entry for name, entry in document.entries.items() if name != EXTENDS}, document.mark)
    base = document.entries[EXTENDS].node
    if not isinstance(base, Scalar) or not isinstance(base.value, str) or not base.value:
        raise PipelineInvalid(
            [mark.fault((EXTENDS,), "expected the path of a file; write `extends: base.yaml`")]
        )
    target = file.parent / base.value
    try:
        demand_root(target)
    except OutsideRoots as error:
        raise PipelineInvalid([mark.fault((EXTENDS,), str(error))]) from None
    seen = (*chain, file.resolve())
    if target.resolve() in seen:
        names = " -> ".join(path.name for path in (*seen[seen.index(target.resolve()) :], target.resolve()))
        raise PipelineInvalid([mark.fault((EXTENDS,), f"files extend one another: {names}; break the loop")])
    if not _is_file(target):
        raise PipelineInvalid(
            [mark.fault((EXTENDS,), f"no such file: {base.value}; the path is relative to this file")]
        )
    return laid_over(own, read_extended(target, seen))


def _is_file(path: FilePath) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is longer than any file's
        return False


def laid_over(upper: Mapping, lower: Mapping) -> Mapping:
    """Return `lower` with the entries of `upper`: maps merge, null deletes, all else replaces.

    A block that picks another `kind` replaces the whole block below it: options of one method mean nothing
    to another.
    """
    entries = dict(lower.entries)
    for name, entry in upper.entries.items():
        if isinstance(entry.node, Scalar) and entry.node.value is None and name in entries:
            del entries[name]
        else:
            below = entries.get(name)
            entries[name] = Entry(entry.key_mark, _merged(entry.node, below.node)) if below else entry
    return Mapping(entries, upper.mark)


def _merged(upper: Node, lower: Node) -> Node:
    if not isinstance(upper, Mapping):
        return upper
    base = expanded(lower)
    if not isinstance(base, Mapping) or any(
        _text(upper, tag) is not None and _text(upper, tag) != _text(base, tag) for tag in TAGS
    ):
        return upper
    return laid_over(upper, base)


def expanded(node: Node) -> Node:
    """Return a bare string as the block it stands for."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return Mapping({"kind": Entry(node.mark, node)}, node.mark)
    return node


def _text(node: Mapping, tag: str) -> str | None:
    entry = node.entries.get(tag)
    return str(entry.node.value) if entry and isinstance(entry.node, Scalar) else None


def with_overrides(document: Mapping, overrides: Iterable[str]) -> Mapping:
    """Return the document with each `a.b.c=value` set, in order; lists take an index, null deletes.

    Raises:
        PipelineInvalid: An override has not this form, or its path leads nowhere.
    """
    faults: list[Fault] = []
    for text in overrides:
        try:
            document = _overridden(document, text)
        except PipelineInvalid as error:
            faults.extend(error.faults)
    if faults:
        raise PipelineInvalid(faults)
    return document


def _overridden(document: Mapping, text: str) -> Mapping:
    label = f"--set {text}"
    mark = Mark(label if len(label) <= LONGEST_LABEL else f"{label[:LONGEST_LABEL]}...")
    name, equals, written = text.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        raise PipelineInvalid([mark.fault((), "expected KEY=VALUE, as in `--set steps.train.model.rank=12`")])
    if path[0] == EXTENDS:
        raise PipelineInvalid([mark.fault(path, "is read before overrides; write it in the file")])
    try:
        value = _moved(parse_value(written, mark.file), mark)
    except PipelineInvalid as error:
        raise PipelineInvalid([mark.fault(path, fault.message) for fault in error.faults]) from None
    result = _set(document, path, 0, value, mark)
    assert isinstance(result, Mapping)
    return result


def with_value(document: Mapping, path: str, value: Node) -> Mapping:
    """Return the document with a value at `a.b.c`, as an override sets it; null deletes.

    Raises:
        PipelineInvalid: The path leads nowhere.
    """
    result = _set(document, tuple(path.split(".")), 0, value, value.mark)
    assert isinstance(result, Mapping)
    return result


def _set(node: Node, path: tuple[str, ...], depth: int, value: Node, mark: Mark) -> Node:
    """Return `node` with `value` at `path[depth:]` below it."""
    if depth == len(path):
        return value
    part, here = path[depth], path[: depth + 1]
    if isinstance(node, Sequence):
        index = _index(part, len(node.items), here, mark)
        items = list(node.items)
        items[index] = _set(items[index], path, depth + 1, value, mark)
        return Sequence(tuple(items), node.mark)
    block = expanded(node)
    if not isinstance(block, Mapping):
        message = (
            f"{dotted(path[:depth])} holds {shown(block.value) if isinstance(block, Scalar) else 'a list'}"
        )
        raise PipelineInvalid([mark.fault(here, f"{message}, which has no options below it")])
    if depth == 1 and path[0] == "steps" and part not in block.entries and len(path) > depth + 1:
        raise PipelineInvalid(
            [mark.fault(here, f"unknown step '{part}'{hint(part, block.entries, 'steps')}")]
        )
    return Mapping(_entries_with(block.entries, path, depth, value, mark), block.mark)


def _entries_with(
    entries: MappingType[str, Entry], path: tuple[str, ...], depth: int, value: Node, mark: Mark
) -> dict[str, Entry]:
    part, result = path[depth], dict(entries)
    is_deletion = depth == len(path) - 1 and isinstance(value, Scalar) and value.value is None
    if is_deletion:
        result.pop(part, None)
    else:
        below = result[part] if part in result else Entry(mark, Mapping({}, mark))
        result[part] = Entry(
            mark if part not in entries else below.key_mark, _set(below.node, path, depth + 1, value, mark)
        )
    return result


def _index(part: str, length: int, path: Path, mark: Mark) -> int:
    if part.isascii() and part.isdigit() and int(part) < length:
        return int(part)
    allowed = f"0 to {length - 1}" if length else "it is empty"
    raise PipelineInvalid([mark.fault(path, f"'{part}' is no index of this list; use a number ({allowed})")])


def _moved(node: Node, mark: Mark) -> Node:
    match node:
        case Scalar():
            return Scalar(node.value, mark)
        case Sequence():
            return Sequence(tuple(_moved(item, mark) for item in node.items), mark)
        case Mapping():
            return Mapping(
                {name: Entry(mark, _moved(entry.node, mark)) for name, entry in node.entries.items()}, mark
            )
