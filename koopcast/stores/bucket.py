"""Objects below a prefix of an object store (S3, GCS, Azure), written so that no writer overwrites another:
an object is created only where there is none, and replaced only where it is the one that was read.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from koopcast.errors import InvalidInput, StoreError, StoreLocked, StoreMissing, StoreNotWritable

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutResult, UpdateVersion
    from obstore.store import ObjectStore, RetryConfig

SCHEME = re.compile(r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(/.*)?")
ODD = re.compile(r"[?#]|/(\.{0,2}/|\.{1,2}$)")
"""What an address of a web page would not take as part of its path."""
AT_ONCE = 8
"""Files that are moved at the same time."""
BLOCK = 8 * 2**20
FORBIDDEN = "403 Forbidden"
"""What the text of an error says that is of no class of its own, such as that of a listing."""
METADATA = "169.254.169.254"
"""Where keys are asked for on a cloud machine when the environment holds none."""
SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
)
CLOCKS = "clocks"
"""Folder of objects that were written to learn the time."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Held:
    """An object as it was read."""

    content: bytes
    tag: str
    """Of this version of it, for `Bucket.replace`."""
    modified: datetime
    """By the clock of the object store."""


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it."""

    tag: str
    size: int
    modified: datetime


class Bucket:
    """Objects below a prefix, by names with `/` between folders.

    Args:
        uri: `s3://bucket/prefix` (also `gs://`, `az://`); region, endpoint and keys come from the environment
            (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...).
        patience: How long a request is repeated that finds no answer; None: some seconds.

    Raises:
        InvalidInput: Another form of address, or the package `obstore` is not installed.
    """

    def __init__(self, uri: str, patience: timedelta | None = None) -> None:
        if not is_bucket(uri):
            raise InvalidInput(f"'{uri}' is no address of an object store", "write s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        if ODD.search(self.uri.partition("://")[2]):
            raise InvalidInput(
                f"'{uri}': its prefix has `?` or `#`, or a part that is empty, `.` or `..`",
                "choose a prefix without",
            )
        self._store = _connect(self.uri, patience)
        # Google tells versions of an object apart by their count, the others by their tag.
        self._is_counted = self.uri.startswith("gs://")

    def get(self, name: str) -> Held | None:
        """Return an object, None where there is none."""
        import obstore

        with self._asking(name):
            try:
                found = obstore.get(self._store, name)
            except FileNotFoundError:
                return None
            content = bytes(found.bytes())
        return Held(content, self._tag(found.meta), found.meta["last_modified"])

    def _tag(self, meta: "ObjectMeta | PutResult") -> str:
        return (meta["version"] if self._is_counted else meta["e_tag"]) or ""

    def create(self, name: str, content: bytes) -> str:
        """Write an object that is not there yet; return its tag.

        Raises:
            StoreLocked: It is there, with another content.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._asking(name):
            try:
                return self._tag(obstore.put(self._store, name, content, mode="create"))
            except AlreadyExistsError:
                return self._ours(name, content)

    def replace(self, name: str, content: bytes, tag: str) -> str:
        """Write an object in place of the version with a tag; return its new tag.

        Raises:
            StoreLocked: It is another version by now, or gone.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        version: UpdateVersion = {"version": tag} if self._is_counted else {"e_tag": tag}
        with self._asking(name):
            try:
                return self._tag(obstore.put(self._store, name, content, mode=version))
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

    def listing(self, folder: str) -> dict[str, Listed]:
        """Return all objects below a folder by name, sorted."""
        import obstore

        with self._asking(folder):
            pages = list(obstore.list(self._store, f"{folder}/"))
        found = [item for page in pages for item in page]
        return {
            item["path"]: Listed(self._tag(item), item["size"], item["last_modified"])
            for item in sorted(found, key=lambda item: item["path"])
        }

    def tags(self, folder: str) -> dict[str, str]:
        """Return the names of all objects below a folder, with their tags, sorted."""
        return {name: listed.tag for name, listed in self.listing(folder).items()}

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

        list(_all(send, files.items()))

    def sha256(self, names: Iterable[str]) -> list[str]:
        """Return the SHA-256 of objects, in the order of their names, without keeping their bytes.

        Raises:
            StoreMissing: One of them is not there.
        """
        return list(_all(self._hash, names))

    def _hash(self, name: str) -> str:
        digest = hashlib.sha256()
        for block in self._blocks(name):
            digest.update(block)
        return digest.hexdigest()

    def download(self, files: Mapping[str, Path]) -> None:
        """Write objects to files, by name; their folders are made.

        Raises:
            StoreMissing: One of them is not there.
        """
        list(_all(self._fetch, files.items()))

    def _fetch(self, item: tuple[str, Path]) -> None:
        name, path = item
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for block in self._blocks(name):
                file.write(block)

    def _blocks(self, name: str) -> Iterator[bytes]:
        import obstore

        with self._asking(name):
            try:
                content = obstore.get(self._store, name)
            except FileNotFoundError as error:
                raise StoreMissing(
                    f"'{self.uri}/{name}' is gone", "restore it from a backup, or run again what made it"
                ) from error
            blocks = iter(content.stream(min_chunk_size=BLOCK))
        while True:
            with self._asking(name):
                block = next(blocks, None)
            if block is None:
                return
            yield bytes(block)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; what is gone already does not disturb."""
        import obstore

        chosen = list(names)
        if not chosen:
            return
        with self._asking(chosen[0]):
            obstore.delete(self._store, chosen)

    def now(self) -> datetime:
        """Return the time by the clock of the object store."""
        name = f"{CLOCKS}/{uuid4().hex}"
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
        name = f"{CLOCKS}/{uuid4().hex}"
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

        if os.getpid() != _connected_in:
            raise StoreError(
                f"'{self.uri}' cannot be used in a process that was forked from one that uses object stores",
                "start processes anew (spawn)",
            )
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            if isinstance(error, PermissionDeniedError | UnauthenticatedError) or FORBIDDEN in str(error):
                raise StoreNotWritable(
                    f"'{self.uri}/{name}' is refused ({_first_line(error)})",
                    "check the keys in the environment and the policy of the bucket",
                ) from error
            raise StoreError(
                f"'{self.uri}' cannot be reached ({_first_line(error)})", _way_to(error)
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
    plain = uri.rstrip("/")
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", plain.partition("://")[2])
    return (root / "koopcast" / f"{readable}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}").absolute()


_connected_in = 0
"""Process whose threads carry requests: in a fork of it there are none, and requests would wait for ever."""


def _connect(uri: str, patience: timedelta | None) -> "ObjectStore":
    global _connected_in
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise InvalidInput(
            f"'{uri}' needs the package obstore", "install it: pip install 'koopcast[s3]'"
        ) from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "") if uri.startswith("s3://") else ""
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise InvalidInput(
            f"AWS_ENDPOINT_URL '{endpoint}' is no address", "begin it with http:// or https://"
        )
    _connected_in = _connected_in or os.getpid()
    retries: RetryConfig = {} if patience is None else {"max_retries": 10_000, "retry_timeout": patience}
    try:
        return from_url(
            uri, client_options={"allow_http": endpoint.startswith("http://")}, retry_config=retries
        )
    except BaseError as error:
        raise InvalidInput(
            f"'{uri}' cannot be used ({_first_line(error)})", "set what it names in the environment"
        ) from error


def _all(act: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(act, items)


def _first_line(error: BaseException) -> str:
    """Return what an object store answered, without the secrets that its answer may repeat."""
    line = str(error).splitlines()[0][:200]
    for name in SECRETS:
        if secret := os.environ.get(name):
            line = line.replace(secret, "***")
    return line


def _way_to(error: BaseException) -> str:
    """Return what to do where no answer came, or one that speaks of the way."""
    if METADATA in str(error):
        return "give keys in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY); there are none"
    return "check the bucket, the endpoint (AWS_ENDPOINT_URL) and the network"
