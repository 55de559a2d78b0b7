"""How a cycle stands: what its archive, its last tick and a moment say together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, pairwise, takewhile
from math import isfinite
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel

from koopcast.cycles.archive import TICK, Archive, Manifest
from koopcast.cycles.clock import LABEL
from koopcast.cycles.reports import Reason
from koopcast.cycles.work import Ticked
from koopcast.errors import StoreError, printable
from koopcast.redaction import redacted
from koopcast.stores.durable import write_whole
from koopcast.stores.lock import Holder, is_held, read_holder
from schemas.cycle import Cycle
from schemas.cycle_options import CycleOptions
from schemas.expect import Outcome

MOMENT = "%Y-%m-%dT%H:%M:%SZ"
RECENT = 30
"""Windows that a mean is taken over, the last ones."""
MAX_BEHIND = 1
"""Due windows that may wait without anybody being told: one falls due between two ticks."""

Line = Annotated[str, AfterValidator(printable)]
"""Text that is shown as it is, whoever wrote it."""
State = Literal["well", "behind", "look", "damaged"]
EXIT_CODES: Mapping[State, int] = {"well": 0, "damaged": 1, "look": 3, "behind": 4}


class Condition(BaseModel):
    """An expectation and what became of it when windows were last analysed."""

    text: Line
    holds: bool
    value: float | None
    """Of its left side; None where that is no number."""


class LastTick(BaseModel):
    """The last tick of a cycle, and what one has to know of the cycle to judge it without its file."""

    name: Line
    description: Line
    clock: Literal["near_real_time", "reanalysis"]
    cycle: CycleOptions
    leads: list[int]
    units: Line
    """Of the fields."""
    ended: Line
    """When it ended, UTC."""
    moment: Line
    """Windows that were due by then counted."""
    error: Line = ""
    """Why it failed; empty where it did not."""
    done: list[str] = []
    """Labels of the windows that it analysed."""
    remaining: int = 0
    notes: list[Line] = []
    """Windows with few reports, records of no window, files that could not be read."""
    conditions: list[Condition] = []
    least: int = 1
    """Used reports below which a window is looked at."""


def remember(
    archive: Archive,
    cycle: Cycle,
    units: str,
    moment: pd.Timestamp,
    ended: Ticked | Exception,
    outcomes: Sequence[Outcome] = (),
) -> LastTick:
    """Write down a tick beside the windows and return it.

    Args:
        archive: Of the cycle.
        cycle: Its options.
        units: Of its fields.
        moment: Up to which windows were due.
        ended: What the tick did, or why it failed.
        outcomes: Of its expectations; those of the tick before hold on where nothing was analysed.
    """
    before = last_tick(archive)
    conditions = [
        Condition(text=item.text, holds=item.holds, value=item.value if isfinite(item.value) else None)
        for item in outcomes
    ]
    if not conditions and before is not None:
        conditions = [item for item in before.conditions if item.text in cycle.expect]
    result: dict[str, Any] = {"error": redacted(str(ended))}
    if isinstance(ended, Ticked):
        result = {
            "done": [manifest.label for manifest in ended.done],
            "remaining": ended.remaining,
            "notes": ended.notes,
        }
    tick = LastTick(
        name=cycle.name,
        description=" ".join(cycle.description.split()),
        clock=cycle.clock,
        cycle=cycle.cycle,
        leads=list(cycle.forecast.leads) if cycle.forecast else [],
        units=units,
        ended=f"{datetime.now(UTC):{MOMENT}}",
        moment=f"{moment:{MOMENT}}",
        least=cycle.min_observations,
        conditions=conditions,
        **result,
    )
    write_whole(archive.root / TICK, tick.model_dump_json(indent=1) + "\n")
    archive.put(TICK)
    return tick


def shown(value: float | None) -> str:
    """Return the left side of a condition as text."""
    return "no value" if value is None else f"{value:.4g}"


def last_tick(archive: Archive) -> LastTick | None:
    """Return the last tick; None where there was none, or it was of another version."""
    try:
        return LastTick.model_validate_json((archive.root / TICK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Standing:
    """How a cycle stands."""

    manifests: list[Manifest]
    """Windows that can be read, in the order of time."""
    table: pd.DataFrame
    """A row a window: `label` (time), `source`, monitors, and a column a class of reports."""
    faults: list[str]
    missing: list[str]
    """Labels between others that are not there."""
    tick: LastTick | None
    behind: int | None
    """Windows that are due and not published; None where the archive cannot know."""
    next_due: str | None
    """When the first window that is not published is due, or was."""
    stale: list[str]
    """Windows that follow from one that was analysed again."""
    writer: Holder | None
    """Who is at work; None where nobody is."""
    max_behind: int = MAX_BEHIND

    @property
    def last(self) -> Manifest | None:
        """The last window."""
        return self.manifests[-1] if self.manifests else None

    @property
    def gaps(self) -> list[str]:
        """Labels of the windows in which nothing was observed."""
        return [f"{label:{LABEL}}" for label in self.table.loc[self.table["source"] == "forecast", "label"]]

    @property
    def state(self) -> State:
        """The worst that holds: `damaged`, `behind`, `look` (see `concerns`), else `well`."""
        if self.faults or self.missing:
            return "damaged"
        if self.behind is not None and self.behind > self.max_behind:
            return "behind"
        return "look" if self.concerns else "well"

    @property
    def concerns(self) -> list[str]:
        """What a person should look at: a failed tick, an expectation that does not hold, few reports."""
        if self.tick is None and self.writer is not None:
            return []
        if self.tick is None:
            return [f"no tick is known: '{TICK}' is missing or cannot be read; the next tick writes it"]
        found = [f"the tick of {self.tick.ended} failed: {self.tick.error}"] if self.tick.error else []
        found += [
            f"{item.text} does not hold (left side: {shown(item.value)})"
            for item in self.tick.conditions
            if not item.holds
        ]
        if self.stale and self.writer is None and not self.missing:
            found.append(f"{len(self.stale)} windows follow from one that changed; the next tick redoes them")
        used = int(self.table["used"].iloc[-1]) if len(self.table) else self.tick.least
        if used < self.tick.least:
            found.append(f"the last window used {used} reports, {self.tick.least} are expected")
        return found

    def reports(self) -> dict[str, int]:
        """Return the reports of all windows by class."""
        return {name: int(self.table[name].sum()) for name in self.reasons(with_used=True)}

    @property
    def rejection_rate(self) -> float | None:
        """The share of all reports that was not used; None where there were none."""
        reports = self.reports()
        total = sum(reports.values())
        return 1 - reports["used"] / total if total else None

    def reasons(self, *, with_used: bool = False) -> list[str]:
        """Return the classes that occur."""
        known = [reason.name.lower() for reason in Reason if with_used or reason is not Reason.USED]
        return [name for name in known if name in self.table]

    def recent(self) -> dict[str, float]:
        """Return the means of the monitors over the last windows."""
        numbers = self.table.drop(columns=["label", "source", *self.reasons(with_used=True)]).tail(RECENT)
        return {str(name): float(value) for name, value in numbers.astype(float).mean().dropna().items()}


def standing(
    archive: Archive,
    moment: pd.Timestamp | None = None,
    *,
    deep: bool = True,
    max_behind: int = MAX_BEHIND,
) -> Standing:
    """Return how a cycle stands, from its archive alone.

    Args:
        archive: Of the cycle.
        moment: Windows that are due by then count; default: none do.
        deep: Read and check every file.
        max_behind: Due windows that may wait.
    """
    lock = archive.root / "locks" / "writer.lock"
    tick = last_tick(archive)
    manifests = list(_readable(archive))
    labels, faults = archive.labels(), archive.faults(deep=deep)
    missing: list[str] = []
    behind, next_due = None, None
    if tick is not None:
        clock = tick.cycle.clock()
        first = archive.removed().windows
        # The last window that can be read says how far the archive goes: a file may have any name.
        known = [manifest.label for manifest in manifests]
        named = takewhile(lambda name: name <= known[-1], map(clock.name, count(first)))
        names = list(named) if known else []
        following = first + len(names)
        missing = sorted(set(names) - set(labels))
        faults += [f"window {label} is none of this cycle" for label in known if label not in set(names)]
        if tick.clock == "reanalysis":
            behind = tick.remaining
        elif not clock.is_over(following):
            next_due = f"{clock.due_at(following):{MOMENT}}"
            behind = None if moment is None else len(clock.due(following, moment))
    return Standing(
        manifests,
        table_of(manifests),
        list(map(printable, faults)),
        missing,
        tick,
        behind,
        next_due,
        stale=[after.label for before, after in pairwise(manifests) if after.previous != before.digest],
        writer=read_holder(lock) if is_held(lock) else None,
        max_behind=max_behind,
    )


def _readable(archive: Archive) -> Iterator[Manifest]:
    for label in archive.labels():
        with suppress(StoreError):
            yield archive.manifest(label)


def table_of(manifests: Sequence[Manifest]) -> pd.DataFrame:
    """Return a row a window: `label` (time), `source`, monitors, and a column a class of reports."""
    rows = [_row(manifest) for manifest in manifests]
    columns = ["label", "source", "ob_rms", "oa_rms", "background_spread", "used"]
    table = pd.DataFrame(rows) if rows else pd.DataFrame({name: [] for name in columns})
    table["label"] = pd.to_datetime(table["label"], format=LABEL)
    for name in [reason.name.lower() for reason in Reason]:
        if name in table:
            table[name] = table[name].fillna(0).astype(int)
    return table


def _row(manifest: Manifest) -> dict[str, Any]:
    seen = {name: count for name, count in manifest.values["observations"].items() if name != "digest"}
    return {
        "label": manifest.label,
        "source": manifest.source,
        "used": 0,
        **manifest.values["monitors"],
        **seen,
    }
