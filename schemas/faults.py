"""Faults of a pipeline file: where, what was given, what is allowed; all of them at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from koopcast.errors import InvalidInput
from koopcast.spec import Path

LONGEST_VALUE = 60


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong. `line` 0 means that the place is not in a file (an override)."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}  {self.path}: {self.message}" if self.path else f"{where}  {self.message}"


class PipelineInvalid(InvalidInput):
    """A pipeline that cannot be accepted; its text lists every fault, by position."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults,)


def dotted(path: Path) -> str:
    """Return a path as people write it: `steps.scores.of.0`."""
    return ".".join(str(part) for part in path)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that `word` was probably meant to be."""
    names = {name.lower(): name for name in known}
    matches = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return names[matches[0]] if matches else None


def hint(word: str, known: Iterable[str], label: str = "known") -> str:
    """Return `; did you mean 'x'? (known: x, y)` for a name that is not among `known`."""
    names = sorted(known)
    match = nearest(word, names)
    question = f"; did you mean '{match}'?" if match else ""
    return f"{question} ({label}: {', '.join(names) or 'none'})"


def shown(value: Any) -> str:
    """Return a value as an error message shows it: as YAML would write it, cut where it is long."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return f"a map with {_counted(value, 'key')}"
    if isinstance(value, (list, tuple)):
        return f"a list of {_counted(value, 'item')}"
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}...'"


def _counted(values: Sequence[Any] | dict[Any, Any], word: str) -> str:
    return f"{len(values)} {word}{'' if len(values) == 1 else 's'}"
