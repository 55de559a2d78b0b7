"""The archive of a cycle: one window after another, each published whole or not at all.

    <root>/cycle.json              what the cycle is: digests of its options and its model
    <root>/windows/<label>.json    the manifest of a window; its existence is the publication
    <root>/months/<month>.json     the manifest of the fields of a completed month
    <root>/data/<label>-<digest>/  the files that a manifest names
    <root>/removed.json            what was removed on purpose
    <root>/inbox/                  reports that were read

A window is replaced by replacing its manifest. Manifests form a chain: each names the digest of the one
before, from whose state its window went on. Nothing in a window depends on when or how often it was tried, so
that a chain that was killed has the bytes of one that was not.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from koopcast.cycles.archive.content import TIME, content_digest, filled, quantity_of, timed
from koopcast.cycles.archive.identity import IDENTITY, begin, read_identity
from koopcast.cycles.archive.keeping import Form, Keeping
from koopcast.cycles.archive.manifest import (
    FEEDBACK,
    FIELDS,
    RESTART,
    Manifest,
    as_text,
    digest_of,
    read_manifest,
)
from koopcast.cycles.archive.mirror import Mirror
from koopcast.cycles.archive.months import Month, Months, month_of
from koopcast.cycles.archive.place import DATA, INBOX, WINDOWS, Place, data_name, digests_below
from koopcast.cycles.archive.removed import REMOVED, Removed, read_removed
from koopcast.cycles.archive.repository import Repository, demand_library
from koopcast.cycles.archive.retention import Retention
from koopcast.cycles.clock import LABEL
from koopcast.errors import StoreDamaged, StoreError, StoreMissing
from koopcast.stores.arrays import write_fields
from koopcast.stores.durable import remove
from koopcast.stores.files import read_table
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock

TICK = "tick.json"
"""What the last tick was, beside the windows."""


class Archive:
    """The windows of one cycle in a folder, which may be the working copy of one on an object store.

    Args:
        root: The folder.
        mirror: Where the truth lies; None: in the folder.
        keeping: What a writer keeps; for readers it is no matter.
    """

    def __init__(self, root: Path, mirror: Mirror | None = None, keeping: Keeping | None = None) -> None:
        self.root = root
        self._place = Place(root, mirror)
        self._months, self._repository = Months(self._place), Repository(self._place)
        self._keeping = keeping or Keeping()
        self._retention = Retention(self._place, self._months, self._keeping)
        self._seen: dict[str, tuple[tuple[int, int, int], Manifest]] = {}
        """Label -> inode, time and size of the manifest that was read, and what it says."""

    @property
    def uri(self) -> str:
        """Where the truth lies."""
        return self._place.uri

    @property
    def inbox(self) -> Path:
        """The folder of what was read."""
        return self.root / INBOX

    def lock(self) -> Lock | Lease:
        """Return the lock of the one who may write; the folders are made.

        Raises:
            StoreNotWritable: The archive may only be read.
        """
        self._place.make()
        return self._place.lock()

    def pull(self) -> None:
        """Look what is published by now; on a local path that is always known."""
        self._place.pull([IDENTITY, REMOVED, TICK])

    def put(self, name: str) -> None:
        """Send a file for people that was written below the root, such as a page."""
        self._place.put(name)

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
        form = self._keeping.form
        if form == "icechunk":
            demand_library()
        self._place.make()
        self.pull()
        if form == "icechunk":
            self._repository.begin()
        begin(self._place, form, identity, self.last, fork=fork)

    @property
    def form(self) -> Form:
        """The form of the fields: as the archive was begun, which is what a reader finds."""
        held = read_identity(self._place)
        return self._keeping.form if held is None else held["store"]

    def removed(self) -> Removed:
        """Return what was removed on purpose."""
        return read_removed(self.root)

    def labels(self) -> list[str]:
        """Return the labels of the published windows, in the order of time."""
        return self.removed().without(self._place.names(WINDOWS))

    def holds(self, label: str) -> bool:
        """Return whether a window is published."""
        return (self.root / WINDOWS / f"{label}.json").is_file()

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
        path = self.root / WINDOWS / f"{label}.json"
        if not path.is_file():
            return read_manifest(path, label)
        found = path.stat()
        state = found.st_ino, found.st_mtime_ns, found.st_size
        seen = self._seen.get(label)
        if seen is None or seen[0] != state:
            seen = self._seen[label] = state, read_manifest(path, label)
        return seen[1]

    def manifests(self) -> Iterator[Manifest]:
        """Yield the manifests of all windows, in the order of time."""
        return (self.manifest(label) for label in self.labels())

    def folder(self, manifest: Manifest, *parts: str) -> Path:
        """Return the folder of a window's files, and see to it that they are on this machine.

        Args:
            manifest: Of the window.
            parts: Files or folders that are needed, such as `RESTART`; default: all that are kept.

        Raises:
            StoreMissing: It is gone.
            StoreDamaged: The object store holds another content.
        """
        if not parts:
            number = self.removed().windows + self.labels().index(manifest.label)
            parts = tuple(self._kept(number, manifest, self._months.find(month_of(manifest.label))))
        return self._place.data(manifest.data, manifest.files, parts)

    def _kept(self, number: int, manifest: Manifest, month: Month | None) -> set[str]:
        """Return which files and folders of a window were not removed on purpose."""
        kept = {name.split("/")[0] for name in manifest.files}
        if self.removed().lacks_restart(number):
            kept.discard(RESTART)
        if month is not None and month.holds(manifest):
            kept.discard(FIELDS)
        return kept

    def lacks(self, root: Path) -> list[str]:
        """Return the windows and months of which a file is not below a root that should be."""
        first, months, data = self.removed().windows, self._months.read(), root / DATA
        found = [month.name for month in months.values() if not _are_there(data / month.data, month.files)]
        for number, manifest in enumerate(self.manifests(), start=first):
            kept = self._kept(number, manifest, months.get(month_of(manifest.label)))
            files = [name for name in manifest.files if name.split("/")[0] in kept]
            if not _are_there(data / manifest.data, files):
                found.append(manifest.label)
        return found

    def feedback(self, manifest: Manifest) -> pd.DataFrame:
        """Return the reports of a window and what became of each.

        Raises:
            StoreMissing: Their file is gone.
            StoreDamaged: It is not what the window left.
        """
        return read_table(self._unaltered(manifest, FEEDBACK, "table of reports"))

    def restart(self, manifest: Manifest) -> Path:
        """Return the folder of the state that a window left.

        Raises:
            StoreMissing: It is gone.
            StoreDamaged: It is not what the window left.
        """
        return self._unaltered(manifest, RESTART, "state").parent

    def _unaltered(self, manifest: Manifest, name: str, what: str) -> Path:
        path = self.folder(manifest, name) / name
        is_altered = path.is_file() and digest_of(path) != manifest.files[name]
        if is_altered and not self._place.renewed(manifest.data, manifest.files, name):
            raise StoreDamaged(
                f"the {what} that window {manifest.label} left is altered", "restore it from a backup"
            )
        return path

    def scratch(self) -> Path:
        """Return a new empty folder for the files of a window that is not published yet."""
        return self._place.scratch()

    def publish(self, label: str, folder: Path, values: Mapping[str, Any], fields: xr.Dataset) -> Manifest:
        """Publish the fields and the files of a scratch folder as a window, or in place of it.

        Args:
            label: Of the window.
            folder: From `scratch`, filled; it is moved.
            values: What else the manifest says; nothing that another try would change.
            fields: Of the window.

        Raises:
            StoreNotWritable: The disk is full, or the archive may only be read.
            StoreLocked: Another writer published this window meanwhile.
        """
        if self._keeping.form == "windows":
            write_fields(folder / FIELDS, fields)
        digests = digests_below(folder)
        data = data_name(label, digests)
        manifest = {
            "label": label, **values, "fields": content_digest(timed(fields)), "data": data, "files": digests,
        }  # fmt: skip
        text = as_text(manifest)
        published = Manifest(label, manifest, hashlib.sha256(text.encode()).hexdigest())
        month = self._months.find(month_of(label))
        if month is not None and month.holds(published):
            remove(folder / FIELDS)
            digests = {name: digest for name, digest in digests.items() if name.split("/")[0] != FIELDS}
        self._place.bring_in(data, folder, digests)
        if self._keeping.form == "icechunk":
            self._repository.write(label, fields)
        self._place.write(f"{WINDOWS}/{label}.json", text)
        return published

    def sweep(self) -> list[str]:
        """Remove what dead writers left, and data that no manifest names; the caller holds the lock."""
        return self._retention.sweep(self.manifests())

    def reopen(self, number: int) -> None:
        """Note that windows from `number` on are analysed again, whatever was cleared of them before."""
        self._retention.reopen(number)

    def tidy(self, changeable: int) -> None:
        """Drop, thin out and bring together as the options say; the caller holds the lock.

        Args:
            changeable: Last windows that late reports can still change.
        """
        self._retention.tidy(list(self.manifests()), changeable)

    def faults(self, *, deep: bool = True) -> list[str]:
        """Return what is wrong: manifests and files that are missing or altered.

        Args:
            deep: Read every file; else only manifests, and that the folders they name are there.
        """
        removed, found = self.removed(), list[str]()
        months = self._months.read()
        slices: dict[str, str] | None = None
        if deep and self.form == "icechunk" and self.labels():
            try:
                slices = self._repository.digests()
            except StoreError as error:
                found.append(error.message)
        for number, label in enumerate(self.labels(), start=removed.windows):
            try:
                manifest = self.manifest(label)
            except StoreDamaged as error:
                found.append(error.message)
                continue
            kept = self._kept(number, manifest, months.get(month_of(label)))
            files = {name: digest for name, digest in manifest.files.items() if name.split("/")[0] in kept}
            altered = self._place.altered(manifest.data, files, deep=deep)
            found += [f"window {label}: file {name} is missing or altered" for name in altered]
            if slices is not None and slices.get(label) != manifest.values["fields"]:
                found.append(f"window {label}: its fields are missing or altered")
        for month in months.values():
            altered = self._place.altered(month.data, month.files, deep=deep)
            found += [f"month {month.name}: file {name} is missing or altered" for name in altered]
        return found

    def window(self, manifest: Manifest) -> xr.Dataset:
        """Return the fields of a window, each with the dim `time`, lazily."""
        if self.form == "icechunk":
            return self._repository.open().sel({TIME: [pd.to_datetime(manifest.label, format=LABEL)]})
        return self._months.window(manifest, self._months.find(month_of(manifest.label)))

    def versions(self) -> list[str]:
        """Return the names of what `fields` can go back to: `before-<label>-<n>`, the n-th time that a window
        was about to be replaced. Only a repository knows its history.
        """
        return self._repository.versions() if self.form == "icechunk" and self.labels() else []

    def fields(self, quantity: str, version: str | None = None) -> xr.Dataset:
        """Return the fields of all windows along `time`, the label, lazily.

        Windows without such fields are left out; a lead or a member that others lack is NaN there.

        Args:
            quantity: `analysis`, `background` (means), `spread`, `background_spread`; with the dim `lead`, in
                windows, `forecast` and `forecast_spread`; with the dim `member`, `members` (analysed).
            version: One of `versions`; None: as they are.

        Raises:
            StoreMissing: There is no window, or it holds no such fields, or no such version.
        """
        if self.form == "icechunk" and self.labels():
            # A window that was killed before its publication may be there already, at the end.
            held = self._repository.open(version)
            parts = [held if version is not None else held.isel({TIME: slice(len(self.labels()))})]
        elif version is not None:
            raise StoreMissing(
                f"the archive '{self.uri}' has no version '{version}'", "only a repository has"
            )
        else:
            parts = list(self._parts())
        parts = [part for part in (quantity_of(part, quantity) for part in parts) if part.data_vars]
        if not parts:
            raise StoreMissing(f"the archive '{self.uri}' has no {quantity} yet", "run the cycle")
        return xr.concat(filled(parts), TIME, join="exact", data_vars="minimal")

    def _parts(self) -> Iterator[xr.Dataset]:
        """Yield the fields in the order of time: a month at once where all of it lies together."""
        for month, manifests in _by_month(self.manifests(), self._months.read()):
            if month is None or [one for one in manifests if not month.holds(one)]:
                yield from (self._months.window(manifest, month) for manifest in manifests)
            else:
                yield self._months.open(month)


def _are_there(folder: Path, files: Iterable[str]) -> bool:
    return all((folder / name).is_file() for name in files)


def _by_month(
    manifests: Iterator[Manifest], months: Mapping[str, Month]
) -> Iterator[tuple[Month | None, list[Manifest]]]:
    for name, group in groupby(manifests, key=lambda manifest: month_of(manifest.label)):
        yield months.get(name), list(group)
