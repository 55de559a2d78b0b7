"""Manifests: what is published, and the digests that prove it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koopcast.cycles.archive.records import WindowRecord, demand
from koopcast.errors import StoreDamaged
from koopcast.stores.files import read_json

FIELDS, RESTART, FEEDBACK = "fields.zarr", "restart.safetensors", "feedback.parquet"
SUFFIXES = {
    "analysis": "",
    "background": "_background",
    "spread": "_spread",
    "background_spread": "_background_spread",
    "members": "_members",
    "forecast": "_forecast",
    "forecast_spread": "_forecast_spread",
}
"""Quantity -> what follows the name of a variable in the fields of a window."""
START = "start"
"""Digest before the first window."""


@dataclass(frozen=True)
class Manifest:
    """A window that is published."""

    label: str
    values: Mapping[str, Any]
    digest: str
    """Of the manifest itself."""

    @property
    def previous(self) -> str:
        """The digest of the manifest of the window before."""
        return str(self.values["previous"])

    @property
    def source(self) -> str:
        """`analysis`, or `forecast` where nothing was observed."""
        return str(self.values["source"])

    @property
    def observations(self) -> str:
        """The digest of the reports that were there."""
        return str(self.values["observations"]["digest"])

    @property
    def data(self) -> str:
        """The name of the folder of its files."""
        return str(self.values["data"])

    @property
    def files(self) -> Mapping[str, str]:
        """Path below that folder -> digest."""
        files: Mapping[str, str] = self.values["files"]
        return files


def read_manifest(path: Path, label: str) -> Manifest:
    """Return the manifest of a window.

    Raises:
        StoreMissing: It is not published.
        StoreDamaged: It cannot be read.
    """
    remedy = "restore it from a backup; without one remove it and those after it, which are then made anew"
    try:
        values = read_json(path)
    except StoreDamaged as error:
        raise StoreDamaged(f"the manifest of window {label}: {error.message}", remedy) from error
    if demand(WindowRecord, values, path, remedy).label != label:
        raise StoreDamaged(f"'{path}' is no manifest of window {label}", remedy)
    return Manifest(label, values, digest_of(path))


def as_text(values: Any) -> str:
    """Return JSON values as they are published."""
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def digest_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return the digests of files, by path below a folder."""
    return {str(path.relative_to(folder)): digest_of(path) for path in files}


def name_of(label: str, digests: Mapping[str, str]) -> str:
    """Return the name of a folder that holds files with these digests."""
    return f"{label}-{hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]}"
