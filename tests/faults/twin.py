"""A small cycle whose truth is known: its file, its reports as time goes by, and what is compared."""

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from koopcast.cycles.archive import Archive
from koopcast.cycles.clock import Clock, negative, parse_moment
from koopcast.stores import Store
from koopcast.stores.files import open_data
from koopcast.times import Duration

CELLS = 12
RING = f"""
name: ring
seed: 1
steps:
  truth:
    task: generate
    system: {{kind: lorenz96, points: {CELLS}}}
    steps: 3000
    burn_in: 100
    split: {{time: {{train: ..49.95, test: 50..}}}}
"""
CYCLE = """
name: NAME
seed: 3
model: runs://ring/latest/truth.system
observations: {kind: table, path: [PATHS], error: {std: 0.5}, settle: 0}
method: {kind: etkf, members: 12, inflation: {kind: multiplicative, factor: 1.04}, rotation: true}
cycle: {start: "START", step: PTSTEPS, record: PTSTEPS, cutoff: PTCUTOFFS}
forecast: {leads: [1, 2]}
late: rerun
max_rerun_windows: RERUNS
max_catchup: 100000
threads: 1
deploy: {slot: SLOT}
""".replace("PATHS", ", ".join(f"inbox/*.{end}" for end in ("csv", "gz", "parquet", "nc")))


def truth_of(store: Path) -> np.ndarray:
    """Return the true values by record and cell, of a store in which the pipeline of `RING` ran."""
    opened = Store.open(store)
    artefact = opened.load(opened.resolve("runs://ring/latest/truth"))
    values = open_data(artefact.path).part("test").tensor().numpy()[0, :, :, 0]
    return np.asarray(values)


def now() -> pd.Timestamp:
    """Return the present, UTC."""
    return pd.Timestamp(datetime.now(UTC).replace(tzinfo=None))


@dataclass
class Twin:
    """A cycle in a folder.

    Args:
        folder: Where its file and inbox are made.
        store: With the model.
        name: Of the cycle.
        truth: Values by window and cell.
        start: Label of the first window.
        step: Seconds from one window to the next.
        cutoff: Seconds from the end of a window until it is due.
    """

    folder: Path
    store: Path
    name: str
    truth: np.ndarray
    start: pd.Timestamp
    step: int = 1
    cutoff: int = 8
    reruns: int = 40
    """Windows that late reports can change."""
    gaps: frozenset[int] = frozenset()
    """Windows without reports."""
    more: str = ""
    """More lines of the file."""
    slot: bool = False
    """Whether runs wait for a slot of the server."""
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / f"{self.name}.yaml"
        text = (
            CYCLE.replace("RERUNS", str(self.reruns))
            .replace("SLOT", str(self.slot).lower())
            .replace("NAME", self.name)
            .replace("START", f"{self.start:%Y-%m-%dT%H:%M:%S}")
        )
        self.file.write_text(
            text.replace("CUTOFF", str(self.cutoff)).replace("STEP", str(self.step)) + self.more
        )
        self.archive = Archive(self.store / "cycles" / self.name)
        step = Duration(0, float(self.step))
        start = parse_moment(f"{self.start:%Y-%m-%dT%H:%M:%S}")
        self.clock = Clock(start, step, negative(step), step, Duration(0, float(self.cutoff)))

    def reports(self, windows: range) -> pd.DataFrame:
        """Return noisy values of the truth in some windows, half a step before their labels."""
        parts = []
        for window in windows:
            if window in self.gaps:
                continue
            noise = np.random.default_rng([5, window]).standard_normal(CELLS)
            moment = self.clock.label(window) - pd.Timedelta(seconds=self.step / 2)
            value = self.truth[window % len(self.truth)] + 0.5 * noise
            parts.append(pd.DataFrame({"time": moment, "state": np.arange(float(CELLS)), "value": value}))
        return pd.concat(parts) if parts else pd.DataFrame({"time": [], "state": [], "value": []})

    def deliver(self, windows: range, name: str) -> None:
        """Put the reports of some windows into the inbox, as a file that appears whole."""
        draft = self.folder / f"{name}.draft"
        self.reports(windows).to_csv(draft, index=False)
        draft.replace(self.inbox / name)

    def due_by(self, moment: pd.Timestamp) -> int:
        """Return how many windows are due by a moment."""
        return len(self.clock.due(0, moment))


class Feeder:
    """Delivers the reports of a few windows each time that they are over, until it is stopped."""

    def __init__(
        self, twin: Twin, batch: int = 4, deliver: Callable[[range, str], None] | None = None
    ) -> None:
        self._twin, self._batch, self._deliver = twin, batch, deliver or twin.deliver
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while True:
            last = (number + 1) * self._batch - 1
            if now() >= self._twin.clock.label(last):
                self._deliver(range(number * self._batch, last + 1), f"{number:05}.csv")
                number += 1
            elif self._ended.wait(0.2):
                return

    def stop(self) -> None:
        """Deliver what is due, and no more."""
        self._ended.set()
        self._thread.join()


@dataclass
class Row:
    """What became of one kind of fault."""

    kind: str
    database: str
    repeats: int
    hits: int = 0
    """Faults that really met a living process, or a write that failed."""
    in_write: int = 0
    """Kills that left a window half written."""
    windows: int = 0
    lost: int = 0
    duplicated: int = 0
    torn: int = 0
    is_identical: bool = False
    seconds: float = 0.0
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the archive is complete and has the bytes of an unbroken chain."""
        return self.is_identical and not (self.lost or self.duplicated or self.torn)

    def progress(self, number: int, seconds: float) -> None:
        """Print how far this is."""
        done = f"{self.kind} {number + 1}/{self.repeats}"
        print(f"{done}: {self.hits} hit, {self.in_write} in a write, {seconds:.0f} s {self.note}", flush=True)


class Halves:
    """Looks for windows that are half written: new ones, not those that a kill left earlier.

    Args:
        archive: Where they are looked for.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known = self._all()

    def are_new(self) -> bool:
        """Return whether there is one."""
        return bool(self._all() - self._known)

    def _all(self) -> set[str]:
        return {str(path) for path in self._archive.root.glob("*/.tmp-*")}


def content(archive: Archive) -> dict[str, str]:
    """Return the digest of every file of windows, months and data."""
    paths = [
        path
        for name in ("windows", "months", "data")
        for path in (archive.root / name).rglob("*")
        if path.is_file()
    ]
    return {
        str(path.relative_to(archive.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def judge(row: Row, twin: Twin, windows: int, unbroken: Archive) -> None:
    """Compare the archive of a twin with what it should be, and keep both where they differ.

    Args:
        row: Takes the findings.
        twin: Whose archive is looked at, after its last tick.
        windows: How many it should have.
        unbroken: What one process made of the same reports.
    """
    expected = [twin.clock.name(number) for number in range(windows)]
    found = twin.archive.labels()
    row.windows = windows
    # What a window held before it was analysed again goes with the sweep that begins the next tick.
    twin.archive.sweep()
    row.lost = len(set(expected) - set(found))
    published = [path for name in ("windows", "months") for path in (twin.archive.root / name).glob("*.json")]
    named = {str(json.loads(path.read_text())["data"]) for path in published}
    held = {path.name for path in (twin.archive.root / "data").iterdir()}
    row.duplicated = len(set(found) - set(expected)) + len(held - named)
    row.torn = len(twin.archive.faults())
    row.is_identical = found == expected == unbroken.labels() and content(twin.archive) == content(unbroken)
    if not row.is_good:
        row.note += f" kept in {_kept(twin, unbroken)}"


def _kept(twin: Twin, unbroken: Archive) -> Path:
    """Copy both archives and what was delivered to where they outlive the harness."""
    place = Path(tempfile.mkdtemp(prefix=f"koopcast-fault-{twin.name}-"))
    for folder in (twin.archive.root, unbroken.root, twin.folder):
        shutil.copytree(folder, place / folder.parent.name / folder.name, symlinks=True)
    return place
