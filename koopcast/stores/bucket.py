"""Objects below a prefix of an object store (S3, GCS, Azure), written so that no writer overwrites another:
an object is created only where there is none, and replaced only where it is the one that was read.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from koopcast.errors import InvalidInput, StoreError, StoreLocked, StoreMissing, StoreNotWritable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEME = re.compile(r"(?P<scheme>s3|gs|az)://[^/]+(/.*)?")
AT_ONCE = 8
"""Files that are moved at the same time."""
BLOCK = 8 * 2**20


@dataclass(frozen=True)
class Held:
    """An object as it was read."""

    content: bytes
    tag: str
    """Of this version of it, for `Bucket.replace`."""
    modified: datetime
    """By the clock of the object store."""


class Bucket:
    """Objects below a prefix, by names with `/` between folders.

    Args:
        uri: `s3://bucket/prefix` (also `gs://`, `az://`); region, endpoint and keys come from the environment
            (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...).

    Raises:
        InvalidInput: Another form of address, or the package `obstore` is not installed.
    """

    def __init__(self, uri: str) -> None:
        if not is_bucket(uri):
            raise InvalidInput(f"'{uri}' is no address of an object store", "write s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self._store = _connect(self.uri)

    def get(self, name: str) -> Held | None:
        """Return an object, None where there is none."""
        import obstore

        with self._asking(name):
            try:
                found = obstore.get(self._store, name)
            except FileNotFoundError:
                return None
            content = bytes(found.bytes())
        return Held(content, found.meta["e_tag"] or "", found.meta["last_modified"])

    def create(self, name: str, content: bytes) -> str:
        """Write an object that is not there yet; return its tag.

        Raises:
            StoreLocked: It is there, with another content.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._asking(name):
            try:
                return obstore.put(self._store, name, content, mode="create")["e_tag"] or ""
            except AlreadyExistsError:
                return self._ours(name, content)

    def replace(self, name: str, content: bytes, tag: str) -> str:
        """Write an object in place of the version with a tag; return its new tag.

        Raises:
            StoreLocked: It is another version by now, or gone.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        with self._asking(name):
            try:
                return obstore.put(self._store, name, content, mode={"e_tag": tag})["e_tag"] or ""
            except (PreconditionError, FileNotFoundError):
                return self._ours(name, content)

    def _ours(self, name: str, content: bytes) -> str:
        """Return the tag of an object that is what we meant to write: a request may be heard and its answer
        lost, and then our second one is refused.
        """
        held = self.get(name)
        if held is None or held.content != content:
            raise StoreLocked(
                f"'{self.uri}/{name}' was written by another", "see who else writes there, and try again"
            )
        return held.tag

    def put(self, name: str, content: bytes) -> None:
        """Write an object whatever was there."""
        import obstore

        with self._asking(name):
            obstore.put(self._store, name, content)

    def tags(self, folder: str) -> dict[str, str]:
        """Return the names of all objects below a folder, with their tags, sorted."""
        import obstore

        with self._asking(folder):
            pages = list(obstore.list(self._store, f"{folder}/"))
        return dict(sorted((item["path"], item["e_tag"] or "") for page in pages for item in page))

    def entries(self, folder: str) -> list[str]:
        """Return the names directly in a folder ("" for the root), of objects and of folders, sorted."""
        import obstore

        with self._asking(folder):
            found = obstore.list_with_delimiter(self._store, f"{folder}/" if folder else None)
        paths = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write files as objects, by name."""
        import obstore

        def send(item: tuple[str, Path]) -> None:
            with self._asking(item[0]):
                obstore.put(self._store, item[0], item[1])

        _all(send, files.items())

    def download(self, files: Mapping[str, Path]) -> None:
        """Write objects to files, by name; their folders are made.

        Raises:
            StoreMissing: One of them is not there.
        """
        _all(self._fetch, files.items())

    def _fetch(self, item: tuple[str, Path]) -> None:
        import obstore

        name, path = item
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._asking(name):
            try:
                content = obstore.get(self._store, name)
            except FileNotFoundError as error:
                raise StoreMissing(
                    f"'{self.uri}/{name}' is gone", "restore it from a backup, or run again what made it"
                ) from error
            with path.open("wb") as file:
                for block in content.stream(min_chunk_size=BLOCK):
                    file.write(block)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; what is gone already does not disturb."""
        import obstore

        chosen = list(names)
        with self._asking(chosen[0] if chosen else ""):
            obstore.delete(self._store, chosen)

    def now(self) -> datetime:
        """Return the time by the clock of the object store."""
        name = f"clock/{uuid4().hex}"
        self.put(name, b"")
        held = self.get(name)
        self.delete([name])
        assert held is not None
        return held.modified

    def demand_conditions(self) -> None:
        """Check that the object store heeds conditions of writes.

        Raises:
            StoreError: It ignores them, so that two writers could overwrite each other.
        """
        name = f"clock/{uuid4().hex}"
        self.create(name, b"first")
        try:
            self.create(name, b"second")
        except StoreLocked:
            return
        finally:
            self.delete([name])
        raise StoreError(
            f"'{self.uri}' ignores conditions of writes (If-None-Match): writers could overwrite each other",
            "use an object store that knows them (AWS S3, MinIO, Ceph, GCS, Azure), or a local path",
        )

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Turn what the object store answers into errors that say what to do."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StoreNotWritable(
                f"'{self.uri}/{name}' is refused ({_first_line(error)})",
                "check the keys in the environment and the policy of the bucket",
            ) from error
        except (BaseError, FileNotFoundError) as error:
            raise StoreError(
                f"'{self.uri}' cannot be reached ({_first_line(error)})",
                "check the bucket, the endpoint (AWS_ENDPOINT_URL) and the network",
            ) from error


def is_bucket(uri: str) -> bool:
    """Return whether a store is named by the address of an object store."""
    return SCHEME.fullmatch(uri) is not None


def cache_of(uri: str) -> Path:
    """Return the folder of this machine that keeps what was read from and written to an object store:
    `KOOPCAST_CACHE`, else the user's cache folder.
    """
    base = os.environ.get("KOOPCAST_CACHE") or os.environ.get("XDG_CACHE_HOME")
    root = Path(base).expanduser() if base else Path.home() / ".cache"
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", uri.partition("://")[2].strip("/"))
    return (root / "koopcast" / readable).absolute()


def _connect(uri: str) -> "ObjectStore":
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise InvalidInput(
            f"'{uri}' needs the package obstore", "install it: pip install 'koopcast[s3]'"
        ) from error
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return from_url(uri, client_options={"allow_http": plain})


def _all(act: Callable[[tuple[str, Path]], None], items: Iterable[tuple[str, Path]]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(act, items):
            pass


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200]
