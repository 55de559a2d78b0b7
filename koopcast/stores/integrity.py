"""Whether files still hold what was written: SHA-256, remembered while a file is untouched."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from koopcast.errors import StoreError
from koopcast.stores.artefact import MANIFEST, Artefact, FileEntry
from koopcast.stores.durable import write_whole

Stamp = list[int]
"""Size, modification time in ns and inode: while these stay, a file counts as untouched."""
_SETTLED = 2_000_000_000
"""Nanoseconds after which a later write must show in the modification time, however coarse the clock."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(root: Path) -> dict[str, Path]:
    """Return every file below `root` but the manifest, by its path below `root`, in order.

    Raises:
        StoreError: A symbolic link, whose target could change behind the digest.
    """
    found = {}
    for folder, folders, names in os.walk(root):
        for name in (*names, *folders):
            path = Path(folder) / name
            if path.is_symlink():
                raise StoreError(f"'{path}' is a symbolic link", "store a copy of the file instead")
            if name in names:
                found[path.relative_to(root).as_posix()] = path
    found.pop(MANIFEST, None)
    return dict(sorted(found.items()))


def describe(root: Path) -> dict[str, FileEntry]:
    """Return size and digest of every file below `root`, hashed in threads."""
    files = list_files(root)
    digests = _in_threads(sha256, files.values())
    return {
        name: FileEntry(size=path.stat().st_size, sha256=digest)
        for (name, path), digest in zip(files.items(), digests, strict=True)
    }


def age(root: Path) -> None:
    """Set back the modification times below `root`, so that any write from now on is seen in them."""
    moment = time.time_ns() - 2 * _SETTLED
    for path in list_files(root).values():
        os.utime(path, ns=(moment, moment))


def faults(artefact: Artefact, memory: Path, *, deep: bool) -> list[str]:
    """Return what is wrong with the files of an artefact, one sentence a file; empty when all is well.

    Args:
        artefact: What to check.
        memory: File that remembers which files were found right; written where the store allows.
        deep: Hash every file, even those untouched since they were last found right.
    """
    present = list_files(artefact.path)
    expected = artefact.manifest.files
    result = [f"file '{name}' is missing" for name in expected if name not in present]
    result += [f"file '{name}' does not belong here" for name in present if name not in expected]
    known = {} if deep else _recall(memory)
    stamps = {name: _stamp(present[name]) for name in expected if name in present}
    doubtful = [name for name, stamp in stamps.items() if known.get(name) != stamp]
    digests = _in_threads(sha256, (present[name] for name in doubtful))
    for name, digest in zip(doubtful, digests, strict=True):
        entry = expected[name]
        if digest != entry.sha256:
            size = stamps.pop(name)[0]
            result.append(
                f"file '{name}' has digest {digest[:16]} ({size} bytes), "
                f"expected {entry.sha256[:16]} ({entry.size} bytes)"
            )
    if doubtful or deep:
        remember(memory, stamps)
    return result


def remember_all(artefact: Artefact, memory: Path) -> None:
    """Note that every file of a newly written artefact is right."""
    remember(memory, {name: _stamp(path) for name, path in list_files(artefact.path).items()})


def remember(memory: Path, stamps: dict[str, Stamp]) -> None:
    """Note files that were found right, if the store allows; those just modified may yet change unseen."""
    latest = time.time_ns() - _SETTLED
    settled = {name: stamp for name, stamp in stamps.items() if stamp[1] < latest}
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memory, json.dumps(settled))
    except OSError:
        return


def _recall(memory: Path) -> dict[str, Stamp]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _in_threads(function: Callable[[Path], str], paths: Iterable[Path]) -> list[str]:
    todo = list(paths)
    if len(todo) < 2:
        return [function(path) for path in todo]
    with ThreadPoolExecutor(min(8, len(todo), os.cpu_count() or 1)) as pool:
        return list(pool.map(function, todo))
