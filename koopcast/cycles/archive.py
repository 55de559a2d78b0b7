"""The archive of a cycle: one window after another, each published whole or not at all.

    <root>/cycle.json              what the cycle is: digests of its options and its model
    <root>/windows/<label>.json    the manifest of a window; its existence is the publication
    <root>/data/<label>-<digest>/  the files that a manifest names
    <root>/inbox/                  reports that were read

A window is replaced by replacing its manifest. Manifests form a chain: each names the digest of the one
before, from whose state its window went on. Nothing in a window depends on when or how often it was tried, so
that a chain that was killed has the bytes of one that was not.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from koopcast.cycles.records import IdentityRecord, WindowRecord, demand
from koopcast.errors import InvalidInput, StoreDamaged, StoreMissing
from koopcast.stores.arrays import open_fields
from koopcast.stores.durable import (
    TEMPORARY,
    remove,
    sync,
    sync_tree,
    temporary_sibling,
    write_whole,
    writing,
)
from koopcast.stores.files import read_json
from koopcast.stores.lock import Lock

FIELDS, RESTART, FEEDBACK = "fields.zarr", "restart.safetensors", "feedback.parquet"
SUFFIXES = {
    "analysis": "",
    "background": "_background",
    "spread": "_spread",
    "background_spread": "_background_spread",
    "forecast": "_forecast",
    "forecast_spread": "_forecast_spread",
}
"""Quantity -> what follows the name of a variable in the fields of a window."""
IDENTITY, FORMAT = "cycle.json", 1
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


class Archive:
    """The windows of one cycle in a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._windows, self._data = root / "windows", root / "data"

    @property
    def inbox(self) -> Path:
        """The folder of what was read."""
        return self.root / "inbox"

    def lock(self) -> Lock:
        """Return the lock of the one who may write."""
        return Lock(self.root / "locks" / "writer.lock")

    def open(self, identity: Mapping[str, str], *, fork: bool = False) -> None:
        """Begin the archive, or check that it is of this cycle.

        Args:
            identity: Part -> digest: what must not change while the archive grows.
            fork: Take the new identity from here on; the archive remembers the one before.

        Raises:
            InvalidInput: Something else than the cycle that began the archive.
        """
        with writing(self.root.parent):
            for folder in (self._windows, self._data, self.inbox):
                folder.mkdir(parents=True, exist_ok=True)
        path = self.root / IDENTITY
        held = read_json(path) if path.exists() else None
        if held is None:
            write_whole(path, _text({"format": FORMAT, "identity": dict(identity), "forks": []}))
            return
        if (found := demand(IdentityRecord, held, path).format) != FORMAT:
            raise StoreDamaged(
                f"'{path}' has format {found}, this version knows {FORMAT}",
                "install the version that wrote it",
            )
        changed = [name for name, digest in identity.items() if held["identity"].get(name) != digest]
        if not changed:
            return
        if not fork:
            raise InvalidInput(
                f"the archive '{self.root}' was begun with another {' and '.join(changed)}",
                "restore it, choose another name, or go on with the new one from here: --fork",
            )
        last = self.last()
        fork_at = {"after": None if last is None else last.label, "identity": held["identity"]}
        forks = [*held["forks"], fork_at]
        write_whole(path, _text({"format": FORMAT, "identity": dict(identity), "forks": forks}))

    def labels(self) -> list[str]:
        """Return the labels of the published windows, in the order of time."""
        names = (path.name for path in self._windows.glob("*.json") if not path.name.startswith("."))
        return sorted(name.removesuffix(".json") for name in names)

    def holds(self, label: str) -> bool:
        """Return whether a window is published."""
        return (self._windows / f"{label}.json").is_file()

    def last(self) -> Manifest | None:
        """Return the last window; None where there is none yet."""
        labels = self.labels()
        return self.manifest(labels[-1]) if labels else None

    def manifest(self, label: str) -> Manifest:
        """Return the manifest of a window.

        Raises:
            StoreMissing: It is not published.
            StoreDamaged: It cannot be read.
        """
        path = self._windows / f"{label}.json"
        values = read_json(path)
        if demand(WindowRecord, values, path).label != label:
            raise StoreDamaged(f"'{path}' is the manifest of another window", "restore it from a backup")
        return Manifest(label, values, hashlib.sha256(path.read_bytes()).hexdigest())

    def manifests(self) -> Iterator[Manifest]:
        """Yield the manifests of all windows, in the order of time."""
        return (self.manifest(label) for label in self.labels())

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder of a window's files.

        Raises:
            StoreMissing: It is gone.
        """
        path = self._data / str(manifest.values["data"])
        if not path.is_dir():
            raise StoreMissing(f"the files of window {manifest.label} are gone", "restore them from a backup")
        return path

    def scratch(self) -> Path:
        """Return a new empty folder for the files of a window that is not published yet."""
        path = temporary_sibling(self._data / "window")
        with writing(self.root):
            path.mkdir(parents=True)
        return path

    def publish(self, label: str, folder: Path, values: Mapping[str, Any]) -> Manifest:
        """Publish the files of a scratch folder as a window, or in place of it.

        Args:
            label: Of the window.
            folder: From `scratch`, filled; it is moved.
            values: What else the manifest says; nothing that another try would change.

        Raises:
            StoreNotWritable: The disk is full, or the archive may only be read.
        """
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digests = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }
        whole = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
        place = self._data / f"{label}-{whole[:16]}"
        with writing(self.root):
            sync_tree(folder, files)
            if place.exists():
                remove(folder)
            else:
                folder.rename(place)
                sync(self._data)
            manifest = {"label": label, **values, "data": place.name, "files": digests}
            write_whole(self._windows / f"{label}.json", _text(manifest))
        return self.manifest(label)

    def sweep(self) -> list[str]:
        """Remove what dead writers left, and data that no manifest names; the caller holds the lock."""
        named = {str(manifest.values["data"]) for manifest in self.manifests()}
        strangers = [path for path in self._data.iterdir() if path.name not in named]
        strangers += list(self._windows.glob(f"{TEMPORARY}*"))
        for path in strangers:
            remove(path)
        return [path.name for path in strangers]

    def faults(self) -> list[str]:
        """Return what is wrong: files that are missing or altered, and breaks of the chain."""
        found, before = [], START
        for manifest in self.manifests():
            if manifest.previous != before:
                found.append(f"window {manifest.label} does not go on from the window before")
            before = manifest.digest
            try:
                folder = self.folder(manifest)
            except StoreMissing as error:
                found.append(error.message)
                continue
            for name, digest in manifest.values["files"].items():
                path = folder / name
                if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                    found.append(f"window {manifest.label}: file {name} is missing or altered")
        return found

    def fields(self, quantity: str) -> xr.Dataset:
        """Return the fields of all windows along `time`, the label, lazily.

        Args:
            quantity: `analysis`, `background` (means), `spread`, `background_spread`, or, with the dim `lead`
                in windows, `forecast` and `forecast_spread`.

        Raises:
            StoreMissing: There is no window, or it holds no such fields.
        """
        suffix = SUFFIXES[quantity]
        parts = [
            self._part(open_fields(self.folder(manifest) / FIELDS), suffix) for manifest in self.manifests()
        ]
        if not parts or not parts[0].data_vars:
            raise StoreMissing(f"the archive '{self.root}' has no {quantity} yet", "run the cycle")
        return xr.concat(parts, "time", join="exact")

    def _part(self, fields: xr.Dataset, suffix: str) -> xr.Dataset:
        longer = tuple(other for other in SUFFIXES.values() if len(other) > len(suffix))
        chosen = [
            str(name) for name in fields.data_vars
            if str(name).endswith(suffix) and not str(name).endswith(longer)
        ]  # fmt: skip
        part = fields[chosen].rename({name: name.removesuffix(suffix) for name in chosen})
        return part if "time" in part.dims else part.expand_dims(time=fields["time"].values)


def _text(values: Any) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"
