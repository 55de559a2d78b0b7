"""A YAML document as immutable nodes that know where they stand."""

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from koopcast.spec import Path
from schemas.faults import Fault, dotted


@dataclass(frozen=True)
class Mark:
    """A place in a file, counted from 1; `line` 0 stands for an override on the command line."""

    file: str
    line: int = 0
    column: int = 0

    def fault(self, path: Path, message: str) -> Fault:
        """Return a fault at this place."""
        return Fault(self.file, self.line, self.column, dotted(path), message)


@dataclass(frozen=True)
class Scalar:
    """A text, number, truth value or null."""

    value: str | int | float | bool | None
    mark: Mark
    size: int = 1
    depth: int = 1


@dataclass(frozen=True)
class Entry:
    """The value of a key, and where the key stands."""

    key_mark: Mark
    node: "Node"


@dataclass(frozen=True)
class Sequence:
    """A list."""

    items: tuple["Node", ...]
    mark: Mark
    size: int = field(init=False)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(item.size for item in self.items))
        object.__setattr__(self, "depth", 1 + max((item.depth for item in self.items), default=0))


@dataclass(frozen=True)
class Mapping:
    """A map from names to values, in the order of the file."""

    entries: MappingType[str, Entry]
    mark: Mark
    size: int = field(init=False)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        nodes = [entry.node for entry in self.entries.values()]
        object.__setattr__(self, "size", 1 + sum(1 + node.size for node in nodes))
        object.__setattr__(self, "depth", 1 + max((node.depth for node in nodes), default=0))


Node: TypeAlias = Scalar | Sequence | Mapping


def plain(node: Node) -> Any:
    """Return the values of a node without their places."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {name: plain(entry.node) for name, entry in node.entries.items()}


def child(node: Node, part: str | int) -> Node | None:
    """Return what stands at a key of a map or an index of a list."""
    match node:
        case Mapping() if part in node.entries:
            return node.entries[str(part)].node
        case Sequence() if isinstance(part, int) and 0 <= part < len(node.items):
            return node.items[part]
        case _:
            return None


def mark_of(root: Node, path: Path, *, key: bool = False) -> Mark:
    """Return where the value at `path` stands, or the nearest thing above that exists.

    Args:
        root: The document.
        path: Keys and indices from the root.
        key: Give the place of the last key rather than of its value.
    """
    node, mark = root, root.mark
    for position, part in enumerate(path):
        below = child(node, part)
        if below is None:
            return mark
        is_last = position == len(path) - 1
        by_key = isinstance(node, Mapping) and (isinstance(below, Mapping) or (key and is_last))
        mark = node.entries[str(part)].key_mark if isinstance(node, Mapping) and by_key else below.mark
        node = below
    return mark
