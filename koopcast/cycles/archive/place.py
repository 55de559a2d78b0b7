"""Where an archive lies: a folder, which may be the working copy of objects in a bucket."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from koopcast.cycles.archive.manifest import Manifest, as_text, digest_of, digests_of, name_of
from koopcast.cycles.archive.mirror import Mirror
from koopcast.errors import StoreMissing
from koopcast.stores.durable import (
    TEMPORARY,
    remove,
    sync,
    sync_tree,
    temporary_sibling,
    write_whole,
    writing,
)
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock

WINDOWS, MONTHS, DATA, INBOX = "windows", "months", "data", "inbox"


class Place:
    """Files of an archive, by names relative to its root.

    Args:
        root: The folder.
        mirror: Where the truth lies; None: in the folder.
    """

    def __init__(self, root: Path, mirror: Mirror | None) -> None:
        self.root, self.mirror = root, mirror

    @property
    def uri(self) -> str:
        """Where the truth lies."""
        return str(self.root) if self.mirror is None else self.mirror.uri

    def lock(self) -> Lock | Lease:
        """Return the lock of the one who may write."""
        local = Lock(self.root / "locks" / "writer.lock")
        return local if self.mirror is None else self.mirror.lock(local)

    def make(self) -> None:
        """Make the folders.

        Raises:
            StoreNotWritable: The place may only be read.
        """
        with writing(self.root.parent):
            for name in (WINDOWS, MONTHS, DATA, INBOX):
                (self.root / name).mkdir(parents=True, exist_ok=True)

    def pull(self, files: Iterable[str]) -> None:
        """Look what is published by now, and copy some files at the root."""
        if self.mirror is not None:
            self.make()
            with writing(self.root.parent):
                self.mirror.pull((WINDOWS, MONTHS), files)

    def remember(self) -> None:
        """Note what was published, so that the next look need not fetch it."""
        if self.mirror is not None:
            with writing(self.root.parent):
                self.mirror.remember()

    def names(self, folder: str) -> list[str]:
        """Return what is published in a folder of manifests, in order.

        Raises:
            OSError: The folder may not be read; what is in it is not known then.
        """
        try:
            found = os.listdir(self.root / folder)
        except FileNotFoundError:
            return []
        return sorted(name.removesuffix(".json") for name in found if re.fullmatch(r"[^.].*\.json", name))

    def write(self, name: str, text: str) -> None:
        """Publish a file that nobody else wrote since the last look.

        Raises:
            StoreLocked: Somebody did.
            StoreNotWritable: The disk is full, or the place may only be read.
        """
        with writing(self.root):
            if self.mirror is None:
                write_whole(self.root / name, text)
            else:
                self.mirror.write(name, text)

    def write_json(self, name: str, values: Any) -> None:
        """Publish a file of JSON values, as `write` does."""
        self.write(name, as_text(values))

    def put(self, name: str) -> None:
        """Send a file for people that was written below the root, such as a page."""
        if self.mirror is not None:
            self.mirror.put(name)

    def scratch(self) -> Path:
        """Return a new empty folder for files that are not published yet."""
        path = temporary_sibling(self.root / DATA / "window")
        with writing(self.root):
            path.mkdir(parents=True)
        return path

    def data(self, data: str, files: Mapping[str, str], parts: Iterable[str]) -> Path:
        """Return a folder of data, and see to it that some of its files are on this machine.

        Args:
            data: Name of the folder.
            files: Path below it -> digest.
            parts: First parts of the paths that are needed; none: all.

        Raises:
            StoreMissing: It is gone.
            StoreDamaged: The bucket holds another content.
        """
        path, chosen = self.root / DATA / data, tuple(parts)
        if self.mirror is not None:
            needed = (name for name in files if not chosen or name.split("/")[0] in chosen)
            self.mirror.fetch({f"{DATA}/{data}/{name}": files[name] for name in needed})
        if not path.is_dir():
            raise StoreMissing(f"'{self.uri}/{DATA}/{data}' is gone", "restore it from a backup")
        return path

    def renewed(self, data: str, files: Mapping[str, str], part: str) -> bool:
        """Fetch a part of a folder of data again, since the working copy of it is altered.

        Returns:
            Whether there is a place to fetch it from.

        Raises:
            StoreMissing: The bucket does not hold it.
            StoreDamaged: The bucket holds another content.
        """
        if self.mirror is None:
            return False
        with writing(self.root):
            remove(self.root / DATA / data / part)
        self.data(data, files, [part])
        return True

    def bring_in(self, data: str, folder: Path, digests: Mapping[str, str]) -> None:
        """Move the files of a scratch folder to where a manifest will look for them, and send them.

        Args:
            data: Name of the folder; it may be there already, with all or some of these files.
            folder: From `scratch`.
            digests: Path below it -> digest.
        """
        place = self.root / DATA / data
        with writing(self.root):
            sync_tree(folder, [folder / name for name in digests])
            if place.exists():
                for name in digests:
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).replace(place / name)
                remove(folder)
                sync_tree(place, [])
            else:
                folder.rename(place)
            sync(place.parent)
        if self.mirror is not None:
            self.mirror.send(f"{DATA}/{data}/{name}" for name in digests)

    def take_out(self, manifests: Iterable[Manifest], part: str, *, everywhere: bool) -> None:
        """Remove a file or folder of some windows: from this machine, and `everywhere` from the bucket."""
        chosen = list(manifests)
        with writing(self.root):
            for manifest in chosen:
                if (path := self.root / DATA / manifest.data / part).exists():
                    remove(path)
        if self.mirror is not None and everywhere:
            self.mirror.delete(
                f"{DATA}/{manifest.data}/{name}"
                for manifest in chosen
                for name in manifest.files
                if name.split("/")[0] == part
            )

    def unpublish(self, name: str) -> None:
        """Remove a manifest whose removal is on record."""
        if self.mirror is not None:
            self.mirror.delete([name])
        with writing(self.root):
            (self.root / name).unlink(missing_ok=True)

    def is_whole(self, data: str, files: Mapping[str, str], part: str) -> bool:
        """Return whether a part of a folder of data is on this machine as it was published."""
        path = self.root / DATA / data
        return all(_is_whole(path / name, files[name]) for name in files if name.split("/")[0] == part)

    def altered(self, data: str, files: Mapping[str, str], *, deep: bool) -> list[str]:
        """Return which files of a folder of data are missing or have another digest than the one given;
        without `deep`, all of them where there is no such folder on this machine's disk.
        """
        if not deep:
            is_there = self.mirror is not None or (self.root / DATA / data).is_dir()
            return [] if is_there else list(files)
        start = f"{DATA}/{data}/"
        whole = {f"{start}{name}": digest for name, digest in files.items()}
        if self.mirror is not None:
            bad = self.mirror.altered(whole)
        else:
            bad = [name for name, digest in whole.items() if not _is_whole(self.root / name, digest)]
        return [name.removeprefix(start) for name in bad]

    def strangers(self, named: set[str]) -> list[str]:
        """Return the folders of data that nothing names, wherever the truth lies."""
        if self.mirror is not None:
            return self.mirror.strangers(named)
        return [path.name for path in (self.root / DATA).glob("*") if path.name not in named]

    def has(self, manifest: Manifest, part: str) -> bool:
        """Return whether a file or folder of a window is there, wherever the truth lies."""
        name = f"{DATA}/{manifest.data}/{part}"
        return (self.root / name).exists() if self.mirror is None else self.mirror.has(name)

    def sweep(self, named: set[str], first: str) -> list[str]:
        """Remove what dead writers left, and data that nothing names; the caller holds the lock.

        Args:
            named: Folders of data that manifests name.
            first: Label of the first window that is kept.
        """
        strangers = [path for path in (self.root / DATA).glob("*") if path.name not in named]
        for folder in (".", WINDOWS, MONTHS, INBOX):
            strangers += (self.root / folder).glob(f"{TEMPORARY}*")
        with writing(self.root):
            for path in strangers:
                remove(path)
        swept = [path.name for path in strangers]
        return swept if self.mirror is None else [*swept, *self.mirror.sweep(named, first)]


def digests_below(folder: Path) -> dict[str, str]:
    """Return the digests of all files below a folder, in the order of their names."""
    return digests_of(folder, sorted(path for path in folder.rglob("*") if path.is_file()))


def data_name(name: str, digests: Mapping[str, str]) -> str:
    """Return the name of the folder of data of a window or a month."""
    return name_of(name, digests)


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path) == digest
