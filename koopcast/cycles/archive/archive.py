"""The archive of a cycle: one window after another, each published whole or not at all.

    <root>/cycle.json              what the cycle is: digests of its options and its model
    <root>/windows/<label>.json    the manifest of a window; its existence is the publication
    <root>/data/<label>-<digest>/  the files that a manifest names
    <root>/inbox/                  reports that were read

A window is replaced by replacing its manifest. Manifests form a chain: each names the digest of the one
before, from whose state its window went on. Nothing in a window depends on when or how often it was tried, so
that a chain that was killed has the bytes of one that was not.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from koopcast.cycles.archive.manifest import (
    FEEDBACK,
    FIELDS,
    RESTART,
    SUFFIXES,
    Manifest,
    as_text,
    digest_of,
    digests_of,
    name_of,
    read_manifest,
)
from koopcast.cycles.archive.mirror import Mirror
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
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock

IDENTITY, FORMAT = "cycle.json", 1
TICK = "tick.json"
"""What the last tick was, beside the windows."""


class Archive:
    """The windows of one cycle in a folder, which may be the working copy of one on an object store.

    Args:
        root: The folder.
        mirror: Where the truth lies; None: in the folder.
    """

    def __init__(self, root: Path, mirror: Mirror | None = None) -> None:
        self.root = root
        self._mirror = mirror
        self._windows, self._data = root / "windows", root / "data"

    @property
    def uri(self) -> str:
        """Where the truth lies."""
        return str(self.root) if self._mirror is None else self._mirror.uri

    @property
    def inbox(self) -> Path:
        """The folder of what was read."""
        return self.root / "inbox"

    def lock(self) -> Lock | Lease:
        """Return the lock of the one who may write."""
        local = Lock(self.root / "locks" / "writer.lock")
        return local if self._mirror is None else self._mirror.lock(local)

    def pull(self) -> None:
        """Look what is published by now; on a local path that is always known."""
        if self._mirror is None:
            return
        with writing(self.root.parent):
            for folder in (self._windows, self._data, self.inbox):
                folder.mkdir(parents=True, exist_ok=True)
            self._mirror.pull([IDENTITY, TICK])

    def open(self, identity: Mapping[str, str], *, fork: bool = False) -> None:
        """Begin the archive, or check that it is of this cycle.

        Args:
            identity: Part -> digest: what must not change while the archive grows.
            fork: Take the new identity from here on; the archive remembers the one before.

        Raises:
            InvalidInput: Something else than the cycle that began the archive.
            StoreDamaged: What the archive says of itself cannot be read.
            StoreNotWritable: The archive may only be read.
        """
        with writing(self.root.parent):
            for folder in (self._windows, self._data, self.inbox):
                folder.mkdir(parents=True, exist_ok=True)
        self.pull()
        held = self._identity()
        if held is None:
            self._write(IDENTITY, {"format": FORMAT, "identity": dict(identity), "forks": []})
            return
        changed = [name for name, digest in identity.items() if held["identity"].get(name) != digest]
        if not changed:
            return
        if not fork:
            raise InvalidInput(
                f"the archive '{self.uri}' was begun with another {' and '.join(changed)}",
                "restore it, choose another name, or go on with the new one from here: --fork",
            )
        last = self.last()
        fork_at = {"after": None if last is None else last.label, "identity": held["identity"]}
        forks = [*held["forks"], fork_at]
        self._write(IDENTITY, {"format": FORMAT, "identity": dict(identity), "forks": forks})

    def _identity(self) -> dict[str, Any] | None:
        path = self.root / IDENTITY
        if not path.exists():
            return None
        remedy = (
            f"restore it from a backup, or remove '{path.name}': the next tick writes the present options"
        )
        try:
            held = read_json(path)
        except StoreDamaged as error:
            raise StoreDamaged(error.message, remedy) from error
        if not isinstance(held, dict) or not {"format", "identity", "forks"} <= held.keys():
            raise StoreDamaged(f"'{path}' does not say which cycle this is", remedy)
        if held["format"] != FORMAT:
            raise StoreDamaged(
                f"'{path}' has format {held['format']}, this version knows {FORMAT}",
                "install the version that wrote it",
            )
        return held

    def labels(self) -> list[str]:
        """Return the labels of the published windows, in the order of time."""
        return sorted(path.name.removesuffix(".json") for path in self._windows.glob("[!.]*.json"))

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
        return read_manifest(self._windows / f"{label}.json", label)

    def manifests(self) -> Iterator[Manifest]:
        """Yield the manifests of all windows, in the order of time."""
        return (self.manifest(label) for label in self.labels())

    def folder(self, manifest: Manifest, *parts: str) -> Path:
        """Return the folder of a window's files, and see to it that they are on this machine.

        Args:
            manifest: Of the window.
            parts: Files or folders that are needed, such as `RESTART`; default: all.

        Raises:
            StoreMissing: It is gone.
            StoreDamaged: The object store holds another content.
        """
        path = self._data / manifest.data
        if self._mirror is not None:
            chosen = {name for name in manifest.files if not parts or name.split("/")[0] in parts}
            self._mirror.fetch({f"data/{manifest.data}/{name}": manifest.files[name] for name in chosen})
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
            StoreLocked: Another writer published this window meanwhile.
        """
        data, digests = self._bring_in(label, folder)
        self._write(f"windows/{label}.json", {"label": label, **values, "data": data, "files": digests})
        return self.manifest(label)

    def _bring_in(self, name: str, folder: Path) -> tuple[str, dict[str, str]]:
        """Move a scratch folder to its place, and send it; return the name of the place and the digests."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digests = digests_of(folder, files)
        place = self._data / name_of(name, digests)
        with writing(self.root):
            sync_tree(folder, files)
            if place.exists():
                self._complete(place, folder, digests)
            else:
                folder.rename(place)
            sync(self._data)
        if self._mirror is not None:
            self._mirror.send(f"data/{place.name}/{name}" for name in digests)
        return place.name, digests

    def _complete(self, place: Path, folder: Path, names: Mapping[str, str]) -> None:
        """Move the files of a folder to where some or all of them are already."""
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(place / name)
        remove(folder)
        sync_tree(place, [])

    def _write(self, name: str, values: Any) -> None:
        """Publish a file of JSON values."""
        with writing(self.root):
            if self._mirror is None:
                write_whole(self.root / name, as_text(values))
            else:
                self._mirror.write(name, as_text(values))

    def put(self, name: str) -> None:
        """Send a file for people that was written below the root, such as a page."""
        if self._mirror is not None:
            self._mirror.put(name)

    def sweep(self) -> list[str]:
        """Remove what dead writers left, and data that no manifest names; the caller holds the lock."""
        named = {manifest.data for manifest in self.manifests()}
        strangers = [path for path in self._data.iterdir() if path.name not in named]
        for folder in (self.root, self._windows, self.inbox):
            strangers += folder.glob(f"{TEMPORARY}*")
        with writing(self.root):
            for path in strangers:
                remove(path)
        swept = [path.name for path in strangers]
        return swept if self._mirror is None else [*swept, *self._mirror.sweep(named)]

    def faults(self, *, deep: bool = True) -> list[str]:
        """Return what is wrong: manifests and files that are missing or altered.

        Args:
            deep: Read every file; else only manifests, and that the folders they name are there.
        """
        found = []
        for label in self.labels():
            try:
                manifest = self.manifest(label)
            except StoreDamaged as error:
                found.append(error.message)
                continue
            found += self._altered(manifest, deep=deep)
        return found

    def _altered(self, manifest: Manifest, *, deep: bool) -> list[str]:
        files = {f"data/{manifest.data}/{name}": digest for name, digest in manifest.files.items()}
        if self._mirror is not None:
            bad = self._mirror.altered(files) if deep else []
        elif not (self._data / manifest.data).is_dir():
            return [f"the files of window {manifest.label} are gone"]
        elif not deep:
            return []
        else:
            bad = [name for name, digest in files.items() if not _is_whole(self.root / name, digest)]
        start = f"data/{manifest.data}/"
        return [
            f"window {manifest.label}: file {name.removeprefix(start)} is missing or altered" for name in bad
        ]

    def window(self, manifest: Manifest) -> xr.Dataset:
        """Return the fields of a window, lazily."""
        return open_fields(self.folder(manifest, FIELDS) / FIELDS)

    def feedback(self, manifest: Manifest) -> Path:
        """Return the table of the reports of a window."""
        return self.folder(manifest, FEEDBACK) / FEEDBACK

    def restart(self, manifest: Manifest) -> Path:
        """Return the folder of the state that a window left."""
        return self.folder(manifest, RESTART)

    def fields(self, quantity: str) -> xr.Dataset:
        """Return the fields of all windows along `time`, the label, lazily.

        Args:
            quantity: `analysis`, `background` (means), `spread`, `background_spread`, or, with the dim `lead`
                in windows, `forecast` and `forecast_spread`.

        Raises:
            StoreMissing: There is no window, or it holds no such fields.
        """
        suffix = SUFFIXES[quantity]
        parts = [_part(self.window(manifest), suffix) for manifest in self.manifests()]
        if not parts or not parts[0].data_vars:
            raise StoreMissing(f"the archive '{self.uri}' has no {quantity} yet", "run the cycle")
        return xr.concat(parts, "time", join="exact")


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path) == digest


def _part(fields: xr.Dataset, suffix: str) -> xr.Dataset:
    longer = tuple(other for other in SUFFIXES.values() if len(other) > len(suffix))
    chosen = [
        str(name) for name in fields.data_vars
        if str(name).endswith(suffix) and not str(name).endswith(longer)
    ]  # fmt: skip
    part = fields[chosen].rename({name: name.removesuffix(suffix) for name in chosen})
    return part if "time" in part.dims else part.expand_dims(time=fields["time"].values)
