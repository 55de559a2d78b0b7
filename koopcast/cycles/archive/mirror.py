"""The archive of a cycle on an object store: the truth lies there, a local folder is the working copy."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from koopcast.cycles.archive.manifest import digest_of
from koopcast.errors import StoreDamaged, StoreMissing
from koopcast.stores.bucket import AT_ONCE, Bucket
from koopcast.stores.durable import remove, temporary_sibling, write_whole
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock

MEMORY = "tags.json"
"""Local file: name -> tag of the object that was copied, and digest of the copy."""
GRACE = timedelta(days=1)
"""Age from which data that nothing names are swept whoever may still be about to name them."""


class Mirror:
    """The objects of an archive below a prefix of a bucket.

    Whoever publishes creates an object where there was none, or replaces the version that was there when the
    archive was last pulled. A writer that was suspended, lost its lease and wakes up is refused by that.

    Args:
        bucket: Of the store.
        prefix: Of the archive.
        root: The working copy; names are relative to either.
    """

    def __init__(self, bucket: Bucket, prefix: str, root: Path) -> None:
        self._bucket, self._prefix, self._root = bucket, prefix, root
        self._tags: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        """Of the copies."""

    @property
    def uri(self) -> str:
        """The address of the archive."""
        return f"{self._bucket.uri}/{self._prefix}"

    def lock(self, local: Lock) -> Lease:
        """Return the lock of the one who may write, on whatever machine."""
        return Lease(local, self._bucket, self._object("writer.lock"))

    def pull(self, folders: Iterable[str], files: Iterable[str]) -> None:
        """Bring the working copy up to date: folders of manifests, and some files at the root.

        Only what changed is copied. What the bucket does not hold goes.
        """
        with self._alone():
            copies = {name: copy for folder in folders for name, copy in self._copies(folder).items()}
            known = self._remembered()
            self._tags = {name: tag for folder in folders for name, tag in self._listed(folder).items()}
            self._digests = {name: digest_of(copies[name]) for name in self._tags if name in copies}
            wanted = [
                name for name, tag in self._tags.items()
                if known.get(name) != [tag, self._digests.get(name)]
            ]  # fmt: skip
            for name in copies.keys() - self._tags.keys():
                copies[name].unlink(missing_ok=True)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._copy, [*wanted, *files]))
            if wanted or known.keys() != self._tags.keys():
                self.remember()

    def remember(self) -> None:
        """Note of which objects the copies are, so that the next look need not fetch them."""
        memory = {name: [tag, self._digests[name]] for name, tag in self._tags.items()}
        write_whole(self._root / MEMORY, json.dumps(memory))

    def write(self, name: str, content: str) -> None:
        """Publish a file that nobody else wrote since the archive was pulled, then copy it.

        Raises:
            StoreLocked: Somebody did.
        """
        data = content.encode()
        with self._alone():
            if name in self._tags:
                self._tags[name] = self._bucket.replace(self._object(name), data, self._tags[name])
            else:
                self._tags[name] = self._bucket.create(self._object(name), data)
            self._digests[name] = hashlib.sha256(data).hexdigest()
            write_whole(self._root / name, data)

    def put(self, name: str) -> None:
        """Upload a file that may change at any time."""
        self._bucket.put(self._object(name), (self._root / name).read_bytes())

    def send(self, names: Iterable[str]) -> None:
        """Upload files, before they are named by a manifest."""
        self._bucket.upload({self._object(name): self._root / name for name in names})

    def fetch(self, files: Mapping[str, str]) -> None:
        """Copy those files that are not there yet, each checked.

        Args:
            files: Name -> digest.

        Raises:
            StoreMissing: The bucket does not hold one of them.
            StoreDamaged: It has another content.
        """
        absent = {name: digest for name, digest in files.items() if not (self._root / name).is_file()}
        if not absent:
            return
        scratch = temporary_sibling(self._root / "data" / "fetched")
        try:
            self._bucket.download({self._object(name): scratch / name for name in absent})
            for name, digest in absent.items():
                if digest_of(scratch / name) != digest:
                    raise StoreDamaged(f"'{self.uri}/{name}' is altered", "restore it from a backup")
                (self._root / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / name).replace(self._root / name)
        finally:
            remove(scratch)

    def altered(self, files: Mapping[str, str]) -> list[str]:
        """Return which objects are missing or have another digest than the one given."""

        def is_altered(item: tuple[str, str]) -> bool:
            try:
                return self._bucket.sha256([self._object(item[0])]) != [item[1]]
            except StoreMissing:
                return True

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [name for name, bad in zip(files, pool.map(is_altered, files.items()), strict=True) if bad]

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; what is gone already does not disturb."""
        gone = list(names)
        self._bucket.delete(self._object(name) for name in gone)
        for name in gone:
            self._tags.pop(name, None)

    def strangers(self, named: set[str]) -> list[str]:
        """Return the folders of data that nothing names."""
        return [name for name in self._bucket.entries(self._object("data")) if name not in named]

    def has(self, name: str) -> bool:
        """Return whether there are objects below a folder."""
        return bool(self._bucket.tags(self._object(name)))

    def sweep(self, named: set[str], first: str) -> list[str]:
        """Delete data that nothing names nor can name any more; return their folders.

        Whoever uploaded data may be suspended, and publish them on waking up if the manifest of their window
        is still the one that was read before. So they are left until that manifest has changed after them.
        Those of windows before the `first` that is kept need no such care.
        """
        gone = [name for name in self.strangers(named) if name < first or self._is_fenced(name)]
        for name in gone:
            self._bucket.delete(self._bucket.tags(self._object(f"data/{name}")))
        return gone

    def _is_fenced(self, folder: str) -> bool:
        names = list(self._bucket.tags(self._object(f"data/{folder}")))
        uploaded = self._bucket.get(names[0]) if names else None
        if uploaded is None:
            return True
        name = f"{folder.rsplit('-', 1)[0]}.json"
        manifest = self._bucket.get(self._object(f"windows/{name}")) or self._bucket.get(
            self._object(f"months/{name}")
        )
        if manifest is not None and folder.encode() in manifest.content:
            return False  # of who took over from us, since we last looked
        if manifest is not None and manifest.modified > uploaded.modified:
            return True
        return self._bucket.now() - uploaded.modified > GRACE

    def _object(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _listed(self, folder: str) -> dict[str, str]:
        """Return the tags of the manifests in a folder; marks of folders and other objects are none."""
        start = self._object(folder)
        manifest = re.compile(rf"{re.escape(start)}/[^./][^/]*\.json")
        tags = self._bucket.tags(start)
        return {
            name.removeprefix(f"{self._prefix}/"): tag
            for name, tag in tags.items()
            if manifest.fullmatch(name)
        }

    def _copies(self, folder: str) -> dict[str, Path]:
        return {f"{folder}/{path.name}": path for path in (self._root / folder).glob("[!.]*.json")}

    def _copy(self, name: str) -> None:
        held = self._bucket.get(self._object(name))
        if held is None:
            self._tags.pop(name, None)
            (self._root / name).unlink(missing_ok=True)
            return
        self._tags[name] = held.tag
        self._digests[name] = hashlib.sha256(held.content).hexdigest()
        write_whole(self._root / name, held.content)

    def _remembered(self) -> dict[str, list[str]]:
        """Return what was copied before; a memory that cannot be read is none."""
        try:
            found = json.loads((self._root / MEMORY).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes of this machine, which may only read, from copying meanwhile."""
        lock = Lock(self._root / "locks" / "copy.lock")
        lock.acquire(on_wait=lambda holder, waited: None)
        try:
            yield
        finally:
            lock.release()
