"""A copy of a store that is whole, also while runs and ticks write to it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from koopcast.cycles.archive import Archive
from koopcast.errors import InvalidInput, StoreError
from koopcast.stores import Store
from koopcast.stores.durable import TEMPORARY, remove, sync, temporary_sibling, writing
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock
from tasks.cycle import CYCLES

RUNS, LOCKS = "runs", "locks"
NAMES = ("windows", "months", "removed.json")
"""What in an archive names other files, or says what is not there any more."""
LEFT_OUT = ("verified", "partial")
"""Folders of a store that are made again: what was found right on this disk, and scratch."""
STAGED = f"{TEMPORARY}names"
"""Folder of a copy for names whose files are not copied yet."""
TRIES = 3
MEANWHILE = 1.0
"""Seconds for which another one may still write to the copy."""


@dataclass(frozen=True)
class Copied:
    """What a backup did."""

    files: int
    """New and changed files."""
    bytes: int
    cycles: int
    windows: int


def back_up(root: Path, target: Path) -> Copied:
    """Copy a store, or bring a copy of it up to date.

    What names other files is read first and put in place last: manifests of windows and months, and records
    of runs. So the copy is whole at any moment, also where this is killed. A window whose files went
    meanwhile, since it was analysed again or its month brought together, makes another round. Repositories of
    icechunk are copied while no tick writes to them.

    Args:
        root: Of the store.
        target: A folder of the copy alone: a new or empty one, or a copy that was made before.

    Raises:
        InvalidInput: The target lies in the store, is a file, or holds other things.
        StoreLocked: Another backup writes there, or a tick.
        StoreError: Windows changed in each round.
    """
    root, target = root.absolute(), target.expanduser().absolute()
    if target.is_relative_to(root) or root.is_relative_to(target):
        raise InvalidInput(f"'{target}' and the store '{root}' lie in one another", "name another folder")
    if target.exists() and not target.is_dir():
        raise InvalidInput(f"'{target}' is no folder", "name another one")
    with writing(target), ExitStack() as held:
        Store.open(target)
        _hold(held, Lock(target / LOCKS / "backup.lock"), MEANWHILE)
        # What no manifest names is swept there: in a store that ticks write to, that would be their work.
        for archive in _archives(target):
            _hold(held, archive.lock(), MEANWHILE)
        for archive in _archives(root):
            if archive.form == "icechunk":
                _hold(held, archive.lock(), None)
        return _in_rounds(root, target)


def _hold(held: ExitStack, lock: Lock | Lease, timeout: float | None) -> None:
    lock.acquire(timeout=timeout, on_wait=lambda holder, waited: None)
    held.callback(lock.release)


def _in_rounds(root: Path, target: Path) -> Copied:
    copier = Copier()
    staged = target / STAGED
    for _ in range(TRIES):
        remove(staged)
        for path in _names(root):
            own = path.relative_to(root)
            copier.copy(path, staged / own, unless=target / own)
        for path in _others(root):
            copier.copy(path, target / path.relative_to(root))
        if not _lost(staged, target):
            _put_in_place(staged, target)
            archives = _archives(target)
            for archive in archives:
                archive.sweep()
            windows = sum(len(archive.labels()) for archive in archives)
            return Copied(copier.files, copier.bytes, len(archives), windows)
    raise StoreError(
        f"windows of '{root}' were analysed again in each of {TRIES} rounds, or files of theirs are missing",
        "try again when no tick runs; `koopcast status NAME` says what is missing",
    )


def _archives(root: Path) -> list[Archive]:
    return [Archive(path) for path in sorted((root / CYCLES).glob("*")) if path.is_dir()]


class Copier:
    """Copies files that are not there yet, each in one step."""

    def __init__(self) -> None:
        self.files = self.bytes = 0

    def copy(self, source: Path, place: Path, *, unless: Path | None = None) -> None:
        """Copy a file unless its size and time of change are the same there; what is gone is left out.

        Args:
            source: The file.
            place: Where it goes.
            unless: Where it may be already; default: `place`.
        """
        with suppress(FileNotFoundError):
            status = source.stat()
            if _is_same(status, unless or place):
                return
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = temporary_sibling(place)
            try:
                shutil.copy2(source, draft)
                sync(draft)
                draft.replace(place)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            self.files += 1
            self.bytes += status.st_size


def _is_same(status: os.stat_result, place: Path) -> bool:
    try:
        there = place.stat()
    except FileNotFoundError:
        return False
    return (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _names(root: Path) -> Iterator[Path]:
    """Yield the files that name others."""
    for archive in sorted((root / CYCLES).glob("*")):
        for name in NAMES:
            yield from [archive / name] if (archive / name).is_file() else _files(archive / name)
    yield from _files(root / RUNS)


def _others(root: Path) -> Iterator[Path]:
    for path in _files(root):
        parts = path.relative_to(root).parts
        is_name = parts[0] == RUNS or (parts[0] == CYCLES and any(part in NAMES for part in parts[2:3]))
        if not is_name and parts[0] not in LEFT_OUT:
            yield path


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder but for locks and what is not committed."""
    for place, folders, names in os.walk(folder, onerror=_unless_gone):
        folders[:] = sorted(name for name in folders if name != LOCKS and not name.startswith(TEMPORARY))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith(TEMPORARY))


def _unless_gone(error: OSError) -> None:
    """Raise what keeps a folder from being read: a copy without it would not be whole."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _lost(staged: Path, target: Path) -> bool:
    """Return whether some window or month lost files while they were copied."""
    for path in _names(target):
        own = path.relative_to(target)
        if not (staged / own).exists():
            (staged / own).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, staged / own)
    archives = staged.glob(f"{CYCLES}/*")
    return any(Archive(folder).lacks(target / folder.relative_to(staged)) for folder in archives)


def _put_in_place(staged: Path, target: Path) -> None:
    for path in list(_files(staged)):
        place = target / path.relative_to(staged)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    remove(staged)
