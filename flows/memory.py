"""What a store remembers from one run to the next to save time; losing it costs nothing but time."""

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from koopcast.errors import StoreError
from koopcast.stores import Store
from koopcast.stores.files import write_json

DIGESTS, RATES = "digests.json", "rates.json"
WEIGHT = 0.5
"""Of the newest measurement in a rate."""


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    with contextlib.suppress(StoreError, OSError):
        write_json(path, values)


class DigestMemory(dict[str, str]):
    """Digests of external files by path, size and time of change; written back at the end of the block."""

    def __init__(self, store: Store) -> None:
        self._path = store.root / DIGESTS
        super().__init__({label: str(digest) for label, digest in _read(self._path).items()})
        self._before = len(self)

    def __enter__(self) -> "DigestMemory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if len(self) > self._before:
            _write(self._path, dict(self))


class Rates:
    """Work done a second, by kind of work: measured by earlier runs, with the day of the last one."""

    def __init__(self, store: Store) -> None:
        self._path = store.root / RATES

    def read(self) -> dict[str, float]:
        """Return the rates."""
        return {name: float(entry["rate"]) for name, entry in _read(self._path).items()}

    def ages(self) -> dict[str, str]:
        """Return the day of the last measurement of each rate."""
        return {name: str(entry["day"]) for name, entry in _read(self._path).items()}

    def learn(self, name: str, work: float, seconds: float, day: str) -> None:
        """Take in a measurement."""
        if work <= 0 or seconds <= 0:
            return
        entries = _read(self._path)
        rate = work / seconds
        former = entries.get(name, {}).get("rate", rate)
        entries[name] = {"rate": WEIGHT * rate + (1 - WEIGHT) * former, "day": day}
        _write(self._path, entries)
