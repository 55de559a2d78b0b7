"""One file of an inbox: what is known of it, and whether it changed."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from koopcast.cycles.archive.records import SHA256, WINDOW_NUMBER, Count

NEVER_READ = -1
"""Bytes of a file that was not read: no file, and no empty folder, has so many."""
KEY = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


@dataclass(frozen=True)
class Delivery:
    """What is known of one file."""

    path: str
    bytes: int
    modified: int
    """Nanoseconds, as the file system says."""
    digest: SHA256 | Literal[""]
    """SHA-256 of the content whose reports are used; empty where there is none."""
    key: KEY
    """Of the options by which it was read."""
    fault: str = ""
    """Why nothing can be read of the file as it is."""
    rows: int = 0
    """Reports in it."""
    rejected: Mapping[str, Count] = field(default_factory=dict)
    """Class -> reports that belong to no window."""
    windows: Mapping[WINDOW_NUMBER, Count] = field(default_factory=dict)
    """Number of a window -> reports that belong there, whatever becomes of them."""

    def after(self, known: "Delivery") -> "Delivery":
        """Return what is known now: where nothing can be read, what was known before stays in use."""
        if not self.fault:
            return self
        return replace(known, bytes=self.bytes, modified=self.modified, fault=self.fault)


def state_of(path: Path) -> tuple[int, int]:
    """Return bytes and time of change of a file, or of all files of a folder."""
    if not path.is_dir():
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    parts = [item.stat() for item in sorted(path.rglob("*")) if item.is_file()]
    return sum(part.st_size for part in parts), max((part.st_mtime_ns for part in parts), default=0)


def content_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder with their names."""
    whole = hashlib.sha256()
    for item in [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file()):
        if path.is_dir():
            whole.update(os.fsencode(item.relative_to(path)))
        with item.open("rb") as file:
            while block := file.read(2**20):
                whole.update(block)
    return whole.hexdigest()
