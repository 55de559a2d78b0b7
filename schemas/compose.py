"""Builds nodes from YAML's events: bounded, safe types only, every fault noted with its place."""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from koopcast.spec import Path
from schemas.faults import Fault, shown
from schemas.positions import Entry, Mapping, Mark, Node, Scalar, Sequence

MAX_NODES = 20_000
MAX_DEPTH = 32
MAX_DIGITS = 18

NULL = re.compile(r"~|null|Null|NULL|")
TRUE = re.compile(r"true|True|TRUE")
FALSE = re.compile(r"false|False|FALSE")
WHOLE = re.compile(r"[-+]?[0-9]+")
REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
MERGE = "<<"

EXPLANATIONS = {
    "found character '\\t'": "a tab cannot indent YAML; use spaces",
    "mapping values are not allowed": "an unexpected ':'; check the indentation, "
    "or quote a value that holds ':'",
    "could not find expected ':'": "a line without ':' where `key: value` is expected; add it, or indent it",
    "did not find expected ',' or '}'": "a '{' that is not closed, or a ',' is missing",
    "did not find expected ',' or ']'": "a '[' that is not closed, or a ',' is missing",
    "expected ',' or '}'": "a '{' that is not closed, or a ',' is missing",
    "expected ',' or ']'": "a '[' that is not closed, or a ',' is missing",
    "expected <block end>": "the indentation does not match the lines above; align it",
    "found unexpected end of stream": "a quote that is not closed; add the closing quote",
    "found undefined alias": "an alias (*name) without an anchor (&name) above it; define it first",
    "found duplicate anchor": "an anchor (&name) that was defined before; rename one",
    "found character '%'": "a value cannot start with '%'; quote it",
    "found character '@'": "a value cannot start with '@'; quote it",
    "found character '`'": "a value cannot start with '`'; quote it",
}


class _StopReading(Exception):
    """The document cannot be read any further; its fault is noted."""


class Composer:
    """Builds nodes from the events of one document, noting faults."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.anchors: dict[str, Node | None] = {}

    def compose(self, text: str) -> Node | None:
        """Return the one document in `text`; None where it is empty or cannot be read to its end."""
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        try:
            return self._document(events)
        except yaml.MarkedYAMLError as error:
            message = _explained(error)
            opening = error.context_mark if "not closed" in message else error.problem_mark
            self._note(self._mark(opening or error.problem_mark), (), message)
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            mark = Mark(self.file, before.count("\n") + 1, error.position - before.rfind("\n"))
            self._note(
                mark, (), f"the character U+{int(error.character):04X} cannot stand in YAML; remove it"
            )
        except _StopReading:
            pass
        return None

    def _document(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        is_open = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if is_open:
                    self._stop(
                        event, (), "a second document; keep one pipeline in a file and remove the `---`"
                    )
                is_open = True
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, ())
        is_nothing = isinstance(root, Scalar) and root.value is None
        return None if is_nothing else root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Node:
        if len(path) >= MAX_DEPTH:
            self._stop(event, path, f"nested deeper than {MAX_DEPTH} levels; flatten it")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self.anchors[anchor] = None
        self._refuse_tag(event, path)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, events, path)
        else:
            node = self._mapping(event, events, path)
        if node.size > MAX_NODES:
            self._stop(
                event, path, f"more than {MAX_NODES} values after its aliases are expanded; write fewer"
            )
        if node.depth + len(path) > MAX_DEPTH:
            self._stop(
                event,
                path,
                f"nested deeper than {MAX_DEPTH} levels after its aliases are expanded; flatten it",
            )
        if anchor:
            self.anchors[anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        name = str(event.anchor)
        if name not in self.anchors:
            self._stop(event, path, f"alias *{name} has no anchor &{name} above it; define it first")
        node = self.anchors[name]
        if node is None:
            self._stop(
                event, path, f"anchor &{name} contains itself; an alias cannot refer to what it stands in"
            )
        return node

    def _sequence(self, start: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Sequence:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items))))
        return Sequence(tuple(items), self._mark(start.start_mark))

    def _mapping(self, start: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            mark = self._mark(event.start_mark)
            name = self._key(event, events, path)
            node = self._node(next(events), events, (*path, name))
            if name == MERGE and not _is_quoted(event):
                merged = {**self._merged(node, mark, path), **merged}
            elif name in entries:
                first = entries[name].key_mark
                message = (
                    f"duplicate key '{name}', first given at {first.line}:{first.column}; keep one of them"
                )
                self._note(mark, (*path, name), message)
            else:
                entries[name] = Entry(mark, node)
        return Mapping({**merged, **entries}, self._mark(start.start_mark))

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> str:
        node = self._node(event, events, (*path, "?"))
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        if isinstance(node, Scalar):
            self._note(node.mark, path, f"a key must be text, was given {shown(node.value)}; quote it")
            return shown(node.value)
        self._note(node.mark, path, "a key must be text, was given a map or list; check the brackets")
        return "?"

    def _merged(self, node: Node, mark: Mark, path: Path) -> dict[str, Entry]:
        sources = node.items if isinstance(node, Sequence) else (node,)
        result: dict[str, Entry] = {}
        for source in sources:
            if isinstance(source, Mapping):
                result = {**source.entries, **result}
            else:
                message = "`<<` merges maps only; give it an alias (*name) of a map, or a list of them"
                self._note(mark, path, message)
        return result

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Scalar:
        mark = self._mark(event.start_mark)
        if UNPRINTABLE.search(event.value):
            self._note(mark, path, "a control character inside a text; remove it")
            return Scalar("", mark)
        if _is_quoted(event):
            return Scalar(event.value, mark)
        if WHOLE.fullmatch(event.value) and len(event.value.lstrip("+-")) > MAX_DIGITS:
            message = f"a whole number has at most {MAX_DIGITS} digits; write it shorter, or quote a text"
            self._note(mark, path, message)
            return Scalar(0, mark)
        return Scalar(_resolved(event.value), mark)

    def _refuse_tag(self, event: yaml.Event, path: Path) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            name = str(tag).replace("tag:yaml.org,2002:", "!!")
            message = f"tag '{name}' is not allowed; remove it and write the plain value"
            self._note(self._mark(event.start_mark), path, message)

    def _mark(self, mark: Any) -> Mark:
        return Mark(self.file, mark.line + 1, mark.column + 1) if mark else Mark(self.file, 1, 1)

    def _note(self, mark: Mark, path: Path, message: str) -> None:
        self.faults.append(mark.fault(path, message))

    def _stop(self, event: yaml.Event, path: Path, message: str) -> NoReturn:
        self._note(self._mark(event.start_mark), path, message)
        raise _StopReading


def _is_quoted(event: yaml.Event) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.style is not None


def _resolved(text: str) -> str | int | float | bool | None:
    """Return what a plain scalar means: in YAML 1.2, `1e-3` is a number, `on` and `2009-03` are text."""
    if NULL.fullmatch(text):
        return None
    if TRUE.fullmatch(text) or FALSE.fullmatch(text):
        return bool(TRUE.fullmatch(text))
    if WHOLE.fullmatch(text):
        return int(text)
    if REAL.fullmatch(text):
        return float(text)
    if SPECIAL.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


def _explained(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "not YAML")
    for start, message in EXPLANATIONS.items():
        if start in problem:
            return message
    return f"not YAML: {problem}"
