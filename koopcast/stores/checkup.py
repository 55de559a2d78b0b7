"""Check of a whole store: what is damaged, which steps that concerns, what unfinished work left."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from koopcast.errors import StoreDamaged, StoreError
from koopcast.stores.artefact import Artefact, parse_name, read_artefact
from koopcast.stores.durable import TEMPORARY, num_bytes
from koopcast.stores.integrity import faults
from koopcast.stores.layout import Layout
from koopcast.stores.lock import is_held
from koopcast.stores.runs import Run, pipelines, read_run, run_paths

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
    """What an attempt that was killed left: no damage; `gc` or the next attempt takes it away."""

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


def doctor(store: Layout) -> Report:
    """Hash every file of every artefact and follow every reference of every run."""
    runs, foreign = _read_runs(store)
    sound: dict[str, Artefact] = {}
    broken: dict[str, tuple[str, ...]] = {}
    total = 0
    for path in _entries(store.artefacts):
        if path.name.startswith(TEMPORARY):
            continue
        if parse_name(path.name) is None:
            foreign.append(_below(store, path))
            continue
        total += num_bytes(path)
        artefact, found = _examine(store, path)
        if artefact is not None:
            sound[path.name] = artefact
        if found and path.exists():
            broken[path.name] = found
    return Report(
        num_artefacts=len(sound.keys() | broken.keys()),
        num_bytes=total,
        damaged=tuple(_trace(broken, sound, runs)),
        foreign=tuple(foreign),
        missing=tuple(_dangling(runs, sound.keys() | broken.keys())),
        leftovers=tuple(Leftover(_below(store, path), num_bytes(path)) for path in leftovers(store)),
    )


def leftovers(store: Layout) -> Iterator[Path]:
    """Yield what dead writers left: unfinished artefacts, and scratch of keys nobody works on."""
    for path in _entries(store.artefacts):
        if path.name.startswith(TEMPORARY) and not is_worked_on(store, key_of_unfinished(path.name)):
            yield path
    for path in _entries(store.partial):
        if not is_worked_on(store, path.name):
            yield path


def key_of_unfinished(name: str) -> str | None:
    """Return the key in the name of an unfinished artefact."""
    found = _UNFINISHED.fullmatch(name)
    return found["key"] if found else None


def is_worked_on(store: Layout, key: str | None) -> bool:
    """Return whether somebody alive holds the lock of a key."""
    return key is not None and is_held(store.lock(key).path)


def _examine(store: Layout, path: Path) -> tuple[Artefact | None, tuple[str, ...]]:
    try:
        artefact = read_artefact(path)
        if artefact is None:
            return None, ("it has no manifest",)
        return artefact, tuple(faults(artefact, store.memory(path.name), deep=True))
    except StoreDamaged as error:
        return None, (error.message.removeprefix(f"artefact {path.name}: "),)
    except (StoreError, OSError) as error:
        return None, (str(error),)


def _read_runs(store: Layout) -> tuple[list[Run], list[str]]:
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


def _below(store: Layout, path: Path) -> str:
    return path.relative_to(store.root).as_posix()
