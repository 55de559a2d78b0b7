"""Removal of what no kept run refers to, and of what dead writers left."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from koopcast.errors import InvalidInput, StoreDamaged
from koopcast.stores.artefact import parse_name
from koopcast.stores.bucket import CLOCKS, Bucket
from koopcast.stores.checkup import is_worked_on, key_of_unfinished
from koopcast.stores.durable import TEMPORARY, num_bytes, remove, writing
from koopcast.stores.layout import ARTEFACTS, LOCKS
from koopcast.stores.remote import Remote, manifest_of
from koopcast.stores.runs import Run, list_runs, pipelines
from koopcast.stores.stock import Objects, Stock, every_run, every_stock, size_of, stock_of
from koopcast.stores.store import Store

_STALE = 3600.0
"""Seconds after which an uncommitted small file has no writer: writing one takes milliseconds."""


@dataclass(frozen=True)
class Removed:
    """An entry that is gone, by its path below the root of the store; of a cache, by its whole path."""

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

    runs: frozenset[str]
    keys: frozenset[str]
    since: datetime | None

    def holds(self, key: str, made: datetime) -> bool:
        """Return whether an artefact stays; a run in progress may be about to name a young one."""
        return key in self.keys or (self.since is not None and made >= self.since)


@dataclass(frozen=True)
class _Candidate:
    """What may go."""

    removed: Removed
    key: str | None
    """Whose lock guards it."""
    remove: Callable[[], None]


def gc(store: Store, *, keep_runs: int = 5, dry_run: bool = False) -> Collected:
    """Remove what nothing refers to any more.

    Of each pipeline stay the newest `keep_runs` runs, the newest that was done, and those in progress; with
    them the artefacts that they name, the direct inputs of these, and the scratch of steps that they have yet
    to finish. What somebody alive works on stays, and no run starts meanwhile. Nothing keeps what was made
    outside of any run. Of a store on an object store, the folder of this machine is cleaned alike.

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


def _collect(store: Store, keep_runs: int, dry_run: bool) -> Iterator[Removed]:
    kept = _kept(store, keep_runs)
    for candidate in (*_objects(store, kept), *_files(store, kept)):
        key = candidate.key
        lock = store.lock(key) if key is not None else None
        is_free = not is_worked_on(store, key) if dry_run else lock is None or lock.try_acquire()
        if not is_free:
            continue
        try:
            if not dry_run:
                candidate.remove()
            yield candidate.removed
        finally:
            if lock is not None:
                lock.release()
    if not dry_run:
        _tidy(store)
        if store.bucket is not None:
            _tidy_bucket(store, store.bucket)


def _kept(store: Store, keep_runs: int) -> _Kept:
    kept: list[Run] = []
    for pipeline in pipelines(store):
        has_done = False
        for place, run in enumerate(list_runs(store, pipeline)):
            is_newest_done = run.record.state == "done" and not has_done
            has_done = has_done or is_newest_done
            if place < keep_runs or is_newest_done or run.is_live:
                kept.append(run)
    steps = {(step.kind, step.key) for run in kept for step in run.record.steps.values()}
    keys = {key for _, key in steps}
    for kind, key in steps:
        keys.update(_inputs(store, kind, key))
    since = min((run.record.created for run in kept if run.is_live), default=None)
    return _Kept(frozenset(run.name for run in kept), frozenset(keys), since)


def _inputs(store: Store, kind: str, key: str) -> list[str]:
    try:
        artefact = store.find(kind, key)
    except StoreDamaged:
        return []
    return list(artefact.manifest.inputs.values()) if artefact is not None else []


def _files(store: Store, kept: _Kept) -> Iterator[_Candidate]:
    for path, key in _paths(store, kept):
        name = path.relative_to(store.root).as_posix() if store.bucket is None else str(path)
        yield _Candidate(Removed(name, num_bytes(path)), key, partial(_remove, store, path))


def _paths(store: Store, kept: _Kept) -> Iterator[tuple[Path, str | None]]:
    """Yield what may go, with the key whose lock guards it; runs first, lest one refer to what is gone."""
    for path in store.all_runs.glob("*/*"):
        if path.is_dir() and path.relative_to(store.all_runs).as_posix() not in kept.runs:
            yield path, None
    for path in _entries(store.artefacts):
        parsed = parse_name(path.name)
        if path.name.startswith(TEMPORARY):
            yield path, key_of_unfinished(path.name)
        elif parsed is not None and not kept.holds(parsed[1], _modified(path)):
            yield path, parsed[1]
    published = {parsed[1] for path in _entries(store.artefacts) if (parsed := parse_name(path.name))}
    for path in _entries(store.partial):
        if path.name in published or path.name not in kept.keys:
            yield path, path.name
    for path in _entries(store.damaged):
        yield path, None


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _remove(store: Store, path: Path) -> None:
    if path.parent == store.artefacts and not path.name.startswith(TEMPORARY):
        hidden = store.unfinished(path.name)
        path.rename(hidden)
        path = hidden
    remove(path)


def _objects(store: Store, kept: _Kept) -> Iterator[_Candidate]:
    """Yield what may go of a bucket; runs first, lest one refer to what is gone."""
    remote = store.remote
    if remote is None:
        return
    for name, objects in every_run(remote.bucket):
        if name.partition("/")[2] not in kept.runs:
            yield _Candidate(
                Removed(name, size_of(objects)), None, partial(remote.bucket.delete, list(objects))
            )
    for stock in every_stock(remote):
        parsed, useless = parse_name(stock.name), _useless(stock, kept)
        if parsed is not None and useless:
            removed = Removed(f"{ARTEFACTS}/{stock.name}", size_of(useless))
            yield _Candidate(removed, parsed[1], partial(_withdraw, remote, stock.name, kept))


def _useless(stock: Stock, kept: _Kept) -> Objects:
    """Return the objects of an artefact that may go: all, or those that no publication names."""
    parsed = parse_name(stock.name)
    if stock.artefact is None or parsed is None:
        return stock.objects
    # By the clock of the machine, as a run has its time: an object store tells seconds, by its own clock.
    return stock.orphans if kept.holds(parsed[1], stock.artefact.manifest.created) else stock.objects


def _withdraw(remote: Remote, name: str, kept: _Kept) -> None:
    """Delete what is useless still, now that the lock is ours; without its manifest an artefact is gone."""
    useless = _useless(stock_of(remote, name), kept)
    manifest = manifest_of(name)
    remote.bucket.delete([manifest] if manifest in useless else [])
    remote.bucket.delete(item for item in useless if item != manifest)


def _tidy(store: Store) -> None:
    """Remove the small files that dead processes and removed artefacts left."""
    for path in _entries(store.verified):
        if not (store.artefacts / path.stem).is_dir() and not path.name.startswith(TEMPORARY):
            remove(path)
    for path in _entries(store.incoming):
        lock = store.lock_here(f"fetch-{path.name}")
        if lock.try_acquire():
            remove(path)
            lock.release()
    for path in store.locks.glob("*.lock"):
        lock = store.lock_here(path.stem)
        if path != store.gc_lock().path and lock.try_acquire():
            lock.release()
    for path in store.root.rglob(f"{TEMPORARY}*"):
        if path.is_file() and time.time() - path.stat().st_mtime > _STALE:
            remove(path)


def _tidy_bucket(store: Store, bucket: Bucket) -> None:
    """Remove the leases and clocks of the dead."""
    for name in bucket.entries(LOCKS):
        lock = store.lock(name.removesuffix(".lock"))
        if lock.path != store.gc_lock().path and lock.try_acquire():
            lock.release()
    clocks, now = bucket.listing(CLOCKS), bucket.now()
    bucket.delete(name for name, item in clocks.items() if (now - item.modified).total_seconds() > _STALE)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
