"""What a tick is asked for, what it does, and what it tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from koopcast.cycles.archive import Manifest
from koopcast.errors import printable

Late = Literal["ignore", "next", "rerun"]
Why = Literal["due", "late reports", "forced", "follows a changed window"]


@dataclass(frozen=True)
class Policy:
    """How a cycle deals with what does not come in order."""

    late: Late = "rerun"
    max_catchup: int = 24
    """New windows in one tick, at most."""
    max_rerun_windows: int = 3
    """Published windows that late reports can change, the last ones."""
    min_observations: int = 1
    """Used reports below which a window is warned of."""
    is_reanalysis: bool = False
    """Whether windows end where reports end instead of where the clock stands."""


@dataclass(frozen=True)
class Work:
    """One window that a tick analyses, and why."""

    number: int
    label: str
    why: Why


@dataclass(frozen=True)
class Ticked:
    """What a tick did."""

    done: list[Manifest] = field(default_factory=list)
    remaining: int = 0
    """Windows that are due and wait for the next tick."""
    waiting: list[str] = field(default_factory=list)
    """Files that are too young to be read."""
    faults: dict[str, str] = field(default_factory=dict)
    """Files of which nothing could be read, and why."""
    warnings: list[str] = field(default_factory=list)
    outside: dict[str, int] = field(default_factory=dict)
    """Records of all files that belong to no window, by class."""

    @property
    def notes(self) -> list[str]:
        """Return what a person should know: windows with few reports, records of no window, files that could
        not be read.
        """
        shown = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in self.outside.items())
        return [
            *self.warnings,
            *([f"records of no window: {shown}"] if shown else []),
            *(printable(f"not read: {path}: {fault}") for path, fault in self.faults.items()),
        ]


def late_reports(delivered: Mapping[int, int], manifests: list[Manifest], first: int) -> int:
    """Return how many reports came after their window was analysed, and are in no window.

    Args:
        delivered: Number of a window -> reports that were delivered for it.
        manifests: Of all windows.
        first: Number of the first of them.
    """
    missing = 0
    for number, manifest in enumerate(manifests, start=first):
        counted = {**manifest.values["observations"], "digest": 0}
        missing += delivered.get(number, 0) - sum(counted.values())
    return max(0, missing)
