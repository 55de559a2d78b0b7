"""Check of a whole store: what is damaged, which steps that concerns, what unfinished work left."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from koopcast.errors import StoreDamaged, StoreError
from koopcast.stores.artefact import Artefact, parse_name, read_artefact
from koopcast.stores.durable import TEMPORARY, num_bytes
from koopcast.stores.integrity import faults
from koopcast.stores.layout import ARTEFACTS
from koopcast.stores.remote import Remote
from koopcast.stores.runs import Run, pipelines, read_run, run_paths
from koopcast.stores.stock import every_stock, size_of
from koopcast.stores.store import Store

_UNFINISHED = re.compile(re.escape(TEMPORARY) + r"[a-z][a-z0-9_]*-(?P<key>[0-9a-f]{32,})-[0-9a-f]+")


@dataclass(frozen=True)
class Damage:
    """An artefact that does not hold what was written."""

    artefact: str
    faults: tuple[str, ...]
    steps: tuple[str, ...]
    """Steps that make it, as `<pipeline>/<step>`: running the pipeline again makes it anew."""
    downstream: tuple[str, ...]
    """Steps that may have read it since, directly or through others."""


@dataclass(frozen=True)
class Leftover:
    """What an attempt that was killed left: no damage; `gc` or the next attempt takes it away.

    Of a store on an object store it may lie on this machine, and bears its whole path.
    """

    path: str
    num_bytes: int


@dataclass(frozen=True)
class Report:
    """What `doctor` found. Paths are below the root of the store."""

    num_artefacts: int
    num_bytes: int
    damaged: tuple[Damage, ...]
    foreign: tuple[str, ...]
    """Entries among the artefacts that Koopcast did not write, and run records that cannot be read."""
    missing: tuple[str, ...]
    """Completed steps of runs whose artefact is gone."""
    leftovers: tuple[Leftover, ...]

    @property
    def is_clean(self) -> bool:
        """Whether every artefact and every reference to one is whole; leftovers do no harm."""
        return not (self.damaged or self.foreign or self.missing)

    def lines(self) -> Iterator[str]:
        """Yield the report as text."""
        yield f"{self.num_artefacts} artefacts, {self.num_bytes / 1e6:.1f} MB"
        for damage in self.damaged:
            yield f"damaged: {damage.artefact}: {'; '.join(damage.faults)}"
            yield f"  run again: {', '.join(damage.steps) or 'no run refers to it; `koopcast gc` removes it'}"
            if damage.downstream:
                yield f"  downstream: {', '.join(damage.downstream)}"
        yield from (f"foreign: {path}" for path in self.foreign)
        yield from (f"missing: {text}" for text in self.missing)
        for leftover in self.leftovers:
            yield f"left over: {leftover.path} ({leftover.num_bytes / 1e6:.1f} MB)"


@dataclass(frozen=True)
class _Seen:
    """An artefact as the doctor found it."""

    name: str
    num_bytes: int
    artefact: Artefact | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Survey:
    """All that lies among the artefacts of a store."""

    seen: list[_Seen] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)


def doctor(store: Store) -> Report:
    """Hash every file of every artefact and follow every reference of every run.

    Files on an object store are read there, and not kept.
    """
    runs, unreadable = _read_runs(store)
    survey = _survey_folder(store) if store.remote is None else _survey_bucket(store, store.remote)
    sound = {item.name: item.artefact for item in survey.seen if item.artefact is not None}
    broken = {item.name: item.faults for item in survey.seen if item.faults}
    return Report(
        num_artefacts=len(sound.keys() | broken.keys()),
        num_bytes=sum(item.num_bytes for item in survey.seen),
        damaged=tuple(_trace(broken, sound, runs)),
        foreign=(*unreadable, *survey.foreign),
        missing=tuple(_dangling(runs, sound.keys() | broken.keys())),
        leftovers=(*survey.leftovers, *_leftovers(store)),
    )


def _survey_folder(store: Store) -> _Survey:
    survey = _Survey()
    for path in _entries(store.artefacts):
        if path.name.startswith(TEMPORARY):
            continue
        if parse_name(path.name) is None:
            survey.foreign.append(_below(store, path))
            continue
        size, (artefact, found) = num_bytes(path), _examine(store, path)
        if artefact is not None or path.exists():
            survey.seen.append(_Seen(path.name, size, artefact, found if path.exists() else ()))
    return survey


def _survey_bucket(store: Store, remote: Remote) -> _Survey:
    survey = _Survey()
    published = set()
    for stock in every_stock(remote):
        parsed, orphans = parse_name(stock.name), stock.orphans
        if parsed is None:
            survey.foreign.append(f"{ARTEFACTS}/{stock.name}")
            continue
        if stock.manifest is not None:
            published.add(stock.name)
            found = () if stock.artefact is None else tuple(remote.faults(stock.artefact, deep=True))
            fault = () if stock.fault is None else (stock.fault,)
            size = stock.num_bytes - size_of(orphans)
            survey.seen.append(_Seen(stock.name, size, stock.artefact, (*fault, *found)))
        if orphans and not is_worked_on(store, parsed[1]):
            survey.leftovers.append(Leftover(f"{ARTEFACTS}/{stock.name}", size_of(orphans)))
    for path in _entries(store.artefacts):
        if path.name not in published and remote.copy(path.name) is not None:
            text = f"{path}, not published: run its pipeline again to publish it"
            survey.leftovers.append(Leftover(text, num_bytes(path)))
    return survey


def _leftovers(store: Store) -> Iterator[Leftover]:
    """Yield what dead writers left: unfinished artefacts, and scratch of keys nobody works on."""
    for path in (*_entries(store.artefacts), *_entries(store.partial)):
        is_scratch = path.parent == store.partial
        key = path.name if is_scratch else key_of_unfinished(path.name)
        if (is_scratch or path.name.startswith(TEMPORARY)) and not is_worked_on(store, key):
            name = _below(store, path) if store.bucket is None else str(path)
            yield Leftover(name, num_bytes(path))


def key_of_unfinished(name: str) -> str | None:
    """Return the key in the name of an unfinished artefact."""
    found = _UNFINISHED.fullmatch(name)
    return found["key"] if found else None


def is_worked_on(store: Store, key: str | None) -> bool:
    """Return whether somebody alive holds the lock of a key."""
    return key is not None and store.lock(key).is_held


def _examine(store: Store, path: Path) -> tuple[Artefact | None, tuple[str, ...]]:
    try:
        artefact = read_artefact(path)
        if artefact is None:
            return None, ("it has no manifest",)
        return artefact, tuple(faults(artefact, store.memory(path.name), deep=True))
    except StoreDamaged as error:
        return None, (error.message.removeprefix(f"artefact {path.name}: "),)
    except (StoreError, OSError) as error:
        return None, (str(error),)


def _read_runs(store: Store) -> tuple[list[Run], list[str]]:
    runs, unreadable = [], []
    for pipeline in pipelines(store):
        for path in run_paths(store, pipeline):
            try:
                runs.append(read_run(store, path))
            except StoreDamaged:
                unreadable.append(_below(store, path))
    return runs, unreadable


def _trace(
    broken: Mapping[str, tuple[str, ...]], sound: Mapping[str, Artefact], runs: list[Run]
) -> Iterator[Damage]:
    """Say for each damaged artefact which steps make it and which depend on it."""
    steps_of: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for step, record in run.record.steps.items():
            steps_of[record.key].add(f"{run.record.pipeline}/{step}")
    readers: dict[str, set[str]] = defaultdict(set)
    for artefact in sound.values():
        for key in artefact.manifest.inputs.values():
            readers[key].add(artefact.ref.key)
    for name, found in sorted(broken.items()):
        parsed = parse_name(name)
        assert parsed is not None
        key = parsed[1]
        steps = steps_of[key]
        below = {step for reader in _closure(key, readers) for step in steps_of[reader]} - steps
        yield Damage(name, found, tuple(sorted(steps)), tuple(sorted(below)))


def _closure(key: str, readers: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    frontier = {key}
    while frontier:
        frontier = {reader for item in frontier for reader in readers.get(item, ())} - reached
        reached |= frontier
    return reached


def _dangling(runs: list[Run], present: set[str]) -> Iterator[str]:
    for run in runs:
        for step, record in run.record.steps.items():
            if record.state == "done" and record.ref.name not in present:
                yield f"run {run.name}, step '{step}': artefact {record.ref} is gone"


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _below(store: Store, path: Path) -> str:
    return path.relative_to(store.root).as_posix()
