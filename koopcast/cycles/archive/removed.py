"""What an archive removed on purpose: windows of long ago, and states from which nothing goes on any more."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from koopcast.cycles.archive.manifest import START
from koopcast.cycles.archive.records import RemovedRecord, demand
from koopcast.errors import StoreDamaged
from koopcast.stores.files import read_json

REMOVED = "removed.json"


@dataclass(frozen=True)
class Removed:
    """The record of what is not there any more; it is written before anything is removed."""

    windows: int = 0
    """Windows before the first that is kept."""
    first: str = ""
    """Label of that one."""
    previous: str = START
    """Digest of the manifest of the window before it."""
    restarts: tuple[tuple[int, int], ...] = ()
    """Rules (n, stop): of windows before `stop` only every n-th keeps its state."""
    cleared: int = 0
    """Window before which the files that the rules tell of are removed."""

    @property
    def stop(self) -> int:
        """Return the window before which some states are removed."""
        return max((stop for _, stop in self.restarts), default=0)

    def lacks_restart(self, number: int) -> bool:
        """Return whether the state that a window left is removed."""
        return any(number < stop and number % every for every, stop in self.restarts)

    def thinned(self, every: int, stop: int) -> "Removed":
        """Return the record with a rule that reaches further."""
        others = tuple(rule for rule in self.restarts if rule[0] != every)
        former = max((rule[1] for rule in self.restarts if rule[0] == every), default=0)
        return replace(self, restarts=(*others, (every, max(stop, former))))

    def without(self, labels: Iterable[str]) -> list[str]:
        """Return those labels that are kept."""
        return [label for label in labels if label >= self.first]

    def values(self) -> dict[str, Any]:
        """Return what stands in the file."""
        return asdict(self)


def read_removed(root: Path) -> Removed:
    """Return the record of an archive; one that removed nothing has none.

    Raises:
        StoreDamaged: It cannot be read.
    """
    path = root / REMOVED
    if not path.exists():
        return Removed()
    remedy = "restore it from a backup"
    try:
        values = read_json(path)
    except StoreDamaged as error:
        raise StoreDamaged(f"'{path}' does not say what was removed", remedy) from error
    record = demand(RemovedRecord, values, path, remedy)
    rules = tuple((every, stop) for every, stop in record.restarts)
    return Removed(record.windows, record.first, record.previous, rules, record.cleared)
