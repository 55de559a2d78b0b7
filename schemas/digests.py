"""Digests of external files: what they hold, not where they lie."""

import hashlib
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from koopcast.errors import MissingFile

BLOCK = 2**20


def digest(path: Path, memory: MutableMapping[str, str] | None = None) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files in a directory.

    Args:
        path: A file or a directory.
        memory: Remembers digests by path, size and time of change, so that big files are read once.

    Raises:
        MissingFile: It cannot be read.
    """
    if not path.is_dir():
        return _file(path, memory)
    total = hashlib.sha256()
    for file in sorted(_files(path)):
        total.update(f"{file.relative_to(path).as_posix()}\0{_file(file, memory)}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _file(path: Path, memory: MutableMapping[str, str] | None) -> str:
    try:
        status = path.stat()
        label = f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}"
        if memory is not None and label in memory:
            return memory[label]
        total = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                total.update(block)
    except OSError as error:
        raise MissingFile(
            f"'{path}' cannot be read: {error.strerror}", "check the path and its permissions"
        ) from None
    if memory is not None:
        memory[label] = total.hexdigest()
    return total.hexdigest()
