"""Fields of all windows along `time` in one icechunk repository, with the history of what was known when.

    <root>/fields.icechunk   branch `main`: window k at index k, a commit a window; a tag before each rerun

The manifest of a window stays its publication. It names the digest of the content of its slice, and no
snapshot, whose names are random. The last slice may be ahead of the manifests, by a window that was killed
between.
"""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from koopcast.cycles.archive.content import TIME, Arrays, arrays_digest, arrays_of, timed, untimed
from koopcast.cycles.archive.place import WINDOWS, Place
from koopcast.cycles.clock import LABEL
from koopcast.errors import InvalidInput, StoreDamaged, StoreError, StoreLocked, StoreMissing
from koopcast.redaction import redacted
from koopcast.stores.arrays import chunk_shape
from koopcast.stores.durable import writing

if TYPE_CHECKING:
    import icechunk

REPOSITORY, BRANCH = "fields.icechunk", "main"
TIMES_IN_CHUNK = 1024
UNITS = "seconds since 1970-01-01"


class Repository:
    """The repository of an archive; who writes holds the lock of the archive from session to commit.

    Args:
        place: Of the archive.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._seen: tuple[str, xr.Dataset] | None = None
        """The snapshot that was opened last, and its fields."""
        self._tip: str | None = None
        """The snapshot from which a writer goes on; None: whatever is there."""

    def begin(self) -> None:
        """Note from which snapshot a writer goes on; who commits meanwhile took over from it."""
        with self._using(), writing(self._place.root):
            self._tip = self._made.lookup_branch(BRANCH)

    def write(self, label: str, fields: xr.Dataset) -> None:
        """Commit the fields of a window: at the end, or in place of what was there.

        Raises:
            StoreLocked: Another writer committed meanwhile.
            InvalidInput: The windows before hold other fields.
            StoreDamaged: Some of the windows before are not there.
        """
        with self._using(), writing(self._place.root):
            repository = self._made
            session = repository.writable_session(BRANCH)
            if self._tip not in (None, session.snapshot_id):
                raise self._taken_over()
            held = self._labels(session.store)
            number = self._place_of(label, held)
            arrays = arrays_of(timed(fields))
            if held:
                self._demand_alike(session.store, label, arrays)
            if number < len(held):
                if arrays_digest(_slice(session.store, number)) == arrays_digest(arrays):
                    return
                self._mark(repository, label)
            if held:
                _put(session.store, number, label, arrays)
            else:
                _begin(session.store, timed(fields))
            self._tip = session.commit(f"window {label}", {"window": label})

    def _place_of(self, label: str, held: list[str]) -> int:
        """Return the index of a window, which is behind all that were published before it."""
        before = [name for name in self._place.names(WINDOWS) if name < label]
        number = len(before)
        if held[:number] != before or held[number : number + 1] not in ([], [label]):
            odd = sorted({*before, *held[: number + 1]} - ({*before} & {*held}))
            raise StoreDamaged(
                f"'{self._place.uri}/{REPOSITORY}' does not hold the windows that were published before "
                f"{label}; they differ from {odd[0]} on",
                "restore it from the backup that the windows are of",
            )
        return number

    def _demand_alike(self, store: Any, label: str, arrays: Arrays) -> None:
        held = _forms(store)
        own = {
            name: _form(dims, values, values if dims == (name,) else None)
            for name, (dims, values) in arrays.items()
        }
        other = sorted(name for name in held.keys() | own.keys() if held.get(name) != own.get(name))
        if other:
            raise InvalidInput(
                f"window {label}: `{'`, `'.join(other)}` would be other fields than those of the windows "
                f"before, and '{self._place.uri}/{REPOSITORY}' holds one form",
                "go on with the `forecast`, the `archive.members`, the members and the grid of before, or "
                "choose another name for the cycle",
            )

    def _taken_over(self) -> StoreLocked:
        return StoreLocked(
            f"'{self._place.uri}/{REPOSITORY}' was written by another",
            "see who else writes there, and try again",
        )

    def _mark(self, repository: "icechunk.Repository", label: str) -> None:
        """Tag what was known before a window, and those that follow from it, are analysed again."""
        tip = next(iter(repository.ancestry(branch=BRANCH)))
        if str(tip.metadata["window"]) >= label:
            count = sum(tag.startswith(f"before-{label}-") for tag in repository.list_tags())
            repository.create_tag(f"before-{label}-{count + 1}", tip.id)

    def open(self, version: str | None = None) -> xr.Dataset:
        """Return the fields along `time`, lazily: as they are, or as they were at a tag.

        Raises:
            StoreMissing: There is no repository yet, or no such tag.
        """
        with self._using():
            if version is not None and version not in (known := self.versions()):
                raise StoreMissing(
                    f"the archive '{self._place.uri}' has no version '{version}' "
                    f"(versions: {', '.join(known) or 'none'})",
                    "name one of them",
                )
            repository = self._opened
            snapshot = repository.lookup_branch(BRANCH) if version is None else repository.lookup_tag(version)
            if self._seen is None or self._seen[0] != snapshot:
                store = repository.readonly_session(snapshot_id=snapshot).store
                self._seen = snapshot, xr.open_zarr(store, consolidated=False, chunks=None, zarr_format=3)
            return self._seen[1]

    def versions(self) -> list[str]:
        """Return the tags: `before-<label>-<n>`, the n-th time that a window was about to be replaced."""
        with self._using():
            return sorted(self._opened.list_tags())

    def digests(self) -> dict[str, str]:
        """Return the digest of the content of each slice, by label."""
        with self._using():
            store = self._opened.readonly_session(BRANCH).store
            return {
                label: arrays_digest(_slice(store, number))
                for number, label in enumerate(self._labels(store))
            }

    def _labels(self, store: Any) -> list[str]:
        try:
            times = zarr.open_array(store, path=TIME, mode="r")[...]
        except FileNotFoundError:
            return []
        return [_label(seconds) for seconds in np.asarray(times).tolist()]

    @cached_property
    def _opened(self) -> "icechunk.Repository":
        from icechunk import Repository

        storage = self._storage()
        if not Repository.exists(storage):
            raise StoreMissing(f"the archive '{self._place.uri}' has no fields yet", "run the cycle")
        return Repository.open(storage)

    @cached_property
    def _made(self) -> "icechunk.Repository":
        from icechunk import Repository

        return Repository.open_or_create(self._storage())

    def _storage(self) -> "icechunk.Storage":
        from icechunk import local_filesystem_storage, s3_storage

        if self._place.mirror is None:
            return local_filesystem_storage(str(self._place.root / REPOSITORY))
        address = urlparse(self._place.uri)
        if address.scheme != "s3":
            raise InvalidInput(
                f"'{self._place.uri}': a repository of fields lies on a local path or on s3://",
                "choose `archive: {store: windows}`",
            )
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        return s3_storage(
            bucket=address.netloc,
            prefix=f"{address.path.strip('/')}/{REPOSITORY}",
            region=os.environ.get("AWS_REGION"),
            endpoint_url=endpoint,
            allow_http=bool(endpoint and endpoint.startswith("http://")),
            force_path_style=endpoint is not None,
            from_env=True,
        )

    @contextmanager
    def _using(self) -> Iterator[None]:
        demand_library()
        from icechunk import ConflictError, IcechunkError

        try:
            yield
        except ConflictError as error:
            raise self._taken_over() from error
        except IcechunkError as error:
            lines = str(error).split("\n")
            told = redacted(" ".join(f"{lines[0]} {lines[-1]}".split())[:300])
            raise StoreError(
                f"'{self._place.uri}/{REPOSITORY}' cannot be used ({told})",
                "check the place, its keys and the network; `koopcast status` says what is damaged",
            ) from error


def demand_library() -> None:
    """Check that icechunk is there, and keep its warnings from stdout, where answers go.

    Raises:
        InvalidInput: It is not installed.
    """
    os.environ.setdefault("ICECHUNK_LOG", "error")
    if importlib.util.find_spec("icechunk") is None:
        raise InvalidInput(
            "`archive: {store: icechunk}` needs the package icechunk",
            "install it: pip install 'koopcast[icechunk]', or choose `store: windows`",
        )


def _begin(store: Any, fields: xr.Dataset) -> None:
    """Write the first window: arrays whose chunks hold one time each."""
    encoding: dict[Any, dict[str, Any]] = {}
    for name, field in fields.variables.items():
        chunks = chunk_shape(field.shape, field.dtype)
        if TIME in field.dims:
            chunks = (TIMES_IN_CHUNK,) if name == TIME else (1, *chunk_shape(field.shape[1:], field.dtype))
        encoding[name] = {"chunks": chunks, "compressors": None}
        if field.dtype.kind in "biufc":
            encoding[name]["_FillValue"] = None
    encoding[TIME] |= {"units": UNITS, "calendar": "proleptic_gregorian", "dtype": "int64"}
    plain = fields.drop_encoding()
    plain.to_zarr(store, mode="w", encoding=encoding, zarr_format=3, consolidated=False)


def _put(store: Any, number: int, label: str, arrays: Arrays) -> None:
    """Write a window at an index: the next one, or one that is there."""
    group = zarr.open_group(store, mode="r+")
    moment = int(pd.to_datetime(label, format=LABEL).timestamp())
    values: Mapping[str, Any] = {TIME: moment, **{name: value for name, (_, value) in arrays.items()}}
    for name, array in group.arrays():
        if TIME not in _dims(array):
            continue
        if number == array.shape[0]:
            array.resize((number + 1, *array.shape[1:]))
        array[number] = values[name]


def _slice(store: Any, number: int) -> Arrays:
    """Return the arrays of the window at an index."""
    found = {}
    for name, array in zarr.open_group(store, mode="r").arrays():
        dims = _dims(array)
        if name != TIME:
            picked = array[number : number + 1] if TIME in dims else array[...]
            found[name] = untimed(dims, np.asarray(picked))
    return found


def _form(dims: Iterable[str], array: Any, values: np.ndarray | None) -> tuple[object, ...]:
    """Return dims and shape without the time, the type, and the values of a coordinate."""
    shape = [(dim, size) for dim, size in zip(dims, array.shape, strict=True) if dim != TIME]
    kind = array.dtype.str if array.dtype.kind in "biufc" else "text"
    return shape, kind, None if values is None else [str(value) for value in values.tolist()]


def _forms(store: Any) -> dict[str, tuple[object, ...]]:
    """Return the form of each array of a repository but the time."""
    arrays = [item for item in zarr.open_group(store, mode="r").arrays() if item[0] != TIME]
    return {
        name: _form(_dims(array), array, np.asarray(array[...]) if _dims(array) == (name,) else None)
        for name, array in arrays
    }


def _dims(array: "zarr.Array[Any]") -> tuple[Any, ...]:
    return getattr(array.metadata, "dimension_names", None) or ()


def _label(seconds: int) -> str:
    return pd.Timestamp(seconds, unit="s").strftime(LABEL)
