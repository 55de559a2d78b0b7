"""Removal of what no kept run refers to, and of what dead writers left."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from koopcast.errors import InvalidInput, StoreDamaged
from koopcast.stores.artefact import parse_name, read_artefact
from koopcast.stores.checkup import is_worked_on, key_of_unfinished
from koopcast.stores.durable import TEMPORARY, num_bytes, remove, writing
from koopcast.stores.layout import Layout
from koopcast.stores.runs import Run, list_runs, pipelines

_STALE = 3600.0
"""Seconds after which an uncommitted small file has no writer: writing one takes milliseconds."""


@dataclass(frozen=True)
class Removed:
    """An entry that is gone, by its path below the root of the store."""

    path: str
    num_bytes: int


@dataclass(frozen=True)
class Collected:
    """What `gc` removed, or would remove."""

    removed: tuple[Removed, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of all that was removed."""
        return sum(item.num_bytes for item in self.removed)


@dataclass(frozen=True)
class _Kept:
    """What stays: runs, the keys that they name, and whatever is younger than the oldest run in progress."""

    runs: frozenset[Path]
    keys: frozenset[str]
    since: datetime | None


def gc(store: Layout, *, keep_runs: int = 5, dry_run: bool = False) -> Collected:
    """Remove what nothing refers to any more.

    Of each pipeline stay the newest `keep_runs` runs, the newest that was done, and those in progress; with
    them the artefacts that they name, the direct inputs of these, and the scratch of steps that they have yet
    to finish. What somebody alive works on stays, and no run starts meanwhile. Nothing keeps what was made
    outside of any run.

    Raises:
        InvalidInput: `keep_runs` is negative.
        StoreDamaged: The record of a run cannot be read, so that nobody knows what it refers to.
        StoreNotWritable: The store is read-only.
    """
    if keep_runs < 0:
        raise InvalidInput(f"keep_runs is {keep_runs}", "give 0 or more")
    gate = store.gc_lock()
    if not dry_run:
        gate.acquire()
    try:
        with writing(store.root):
            return Collected(tuple(_collect(store, keep_runs, dry_run)))
    finally:
        gate.release()


def _collect(store: Layout, keep_runs: int, dry_run: bool) -> Iterator[Removed]:
    kept = _kept(store, keep_runs)
    for path, key in _candidates(store, kept):
        lock = store.lock(key) if key is not None else None
        is_free = not is_worked_on(store, key) if dry_run else lock is None or lock.try_acquire()
        if not is_free:
            continue
        try:
            removed = Removed(path.relative_to(store.root).as_posix(), num_bytes(path))
            if not dry_run:
                _remove(store, path)
            yield removed
        finally:
            if lock is not None:
                lock.release()
    if not dry_run:
        _tidy(store)


def _kept(store: Layout, keep_runs: int) -> _Kept:
    kept: list[Run] = []
    for pipeline in pipelines(store):
        has_done = False
        for place, run in enumerate(list_runs(store, pipeline)):
            is_newest_done = run.record.state == "done" and not has_done
            has_done = has_done or is_newest_done
            if place < keep_runs or is_newest_done or run.is_live:
                kept.append(run)
    keys = set()
    for run in kept:
        for step in run.record.steps.values():
            keys.add(step.key)
            keys.update(_inputs(store.artefacts / f"{step.kind}-{step.key}"))
    since = min((run.record.created for run in kept if run.is_live), default=None)
    return _Kept(frozenset(run.path for run in kept), frozenset(keys), since)


def _inputs(path: Path) -> list[str]:
    try:
        artefact = read_artefact(path)
    except StoreDamaged:
        return []
    return list(artefact.manifest.inputs.values()) if artefact is not None else []


def _candidates(store: Layout, kept: _Kept) -> Iterator[tuple[Path, str | None]]:
    """Yield what may go, with the key whose lock guards it; runs first, lest one refer to what is gone."""
    for path in store.all_runs.glob("*/*"):
        if path.is_dir() and path not in kept.runs:
            yield path, None
    for path in _entries(store.artefacts):
        parsed = parse_name(path.name)
        if path.name.startswith(TEMPORARY):
            yield path, key_of_unfinished(path.name)
        elif parsed is not None and parsed[1] not in kept.keys and not _is_since(path, kept.since):
            yield path, parsed[1]
    published = {parsed[1] for path in _entries(store.artefacts) if (parsed := parse_name(path.name))}
    for path in _entries(store.partial):
        if path.name in published or path.name not in kept.keys:
            yield path, path.name
    for path in _entries(store.damaged):
        yield path, None


def _is_since(path: Path, since: datetime | None) -> bool:
    """Return whether an artefact is as young as a run in progress, which may be about to name it."""
    return since is not None and datetime.fromtimestamp(path.stat().st_mtime, UTC) >= since


def _remove(store: Layout, path: Path) -> None:
    if path.parent == store.artefacts and not path.name.startswith(TEMPORARY):
        hidden = store.unfinished(path.name)
        path.rename(hidden)
        path = hidden
    remove(path)


def _tidy(store: Layout) -> None:
    """Remove the small files that dead processes and removed artefacts left."""
    for path in _entries(store.verified):
        if not (store.artefacts / path.stem).is_dir() and not path.name.startswith(TEMPORARY):
            remove(path)
    for path in _entries(store.locks):
        lock = store.lock(path.stem)
        if path != store.gc_lock().path and lock.try_acquire():
            lock.release()
    for path in store.root.rglob(f"{TEMPORARY}*"):
        if path.is_file() and time.time() - path.stat().st_mtime > _STALE:
            remove(path)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
