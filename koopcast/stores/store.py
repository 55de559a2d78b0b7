"""The store of artefacts, local or on an object store: find, load, produce, and runs that refer to them."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from koopcast.errors import InvalidInput, StoreDamaged, StoreError, StoreMissing
from koopcast.stores.artefact import Artefact, ArtefactRef, artefact_name, read_artefact
from koopcast.stores.bucket import Bucket, cache_of, is_bucket
from koopcast.stores.durable import remove, write_whole, writing
from koopcast.stores.integrity import faults
from koopcast.stores.layout import Layout
from koopcast.stores.lock import OnWait, report_waiting
from koopcast.stores.remote import Remote
from koopcast.stores.runs import Run, StepRecord, create_run, list_runs, open_run, resolve_step
from koopcast.stores.slot import Slot

_MARK, _FORMAT = "store.json", 1
PATIENCE = timedelta(minutes=3)
"""How long an object store may be away before what was asked of it fails."""


@dataclass(frozen=True)
class Store(Layout):
    """A directory of immutable artefacts and of the runs that refer to them; `Layout` says what is where."""

    @staticmethod
    def open(uri: str | Path, *, create: bool = True) -> "Store":
        """Open the store at a local path or on an object store (`s3://bucket/prefix`).

        Raises:
            InvalidInput: Neither, or a place that holds something else.
            StoreMissing: Nothing is there and `create` is false.
            StoreNotWritable: It cannot be created.
        """
        if is_bucket(str(uri)):
            return _open_bucket(str(uri), create)
        if "@" in str(uri).partition("://")[2].partition("/")[0]:
            raise InvalidInput(
                "the address of the store holds a name or keys",
                "write s3://bucket/prefix, keys in the environment",
            )
        if scheme := re.match(r"([a-z][a-z0-9+.-]*)://", str(uri), re.IGNORECASE):
            raise InvalidInput(
                f"store '{uri}': scheme '{scheme[1]}' is not supported",
                "give a local path, such as ./runs, or s3://bucket/prefix",
            )
        store = Store(Path(uri).expanduser().absolute())
        if (store.root / _MARK).is_file():
            _check_format(str(store.root), (store.root / _MARK).read_bytes())
        elif create:
            _create(store.root)
        else:
            raise StoreMissing(f"there is no store at '{store.root}'", "give the path of one with --store")
        return store

    @property
    def remote(self) -> Remote | None:
        """The artefacts on the object store behind the folder."""
        return None if self.bucket is None else Remote(self, self.bucket)

    def find(self, kind: str, key: str) -> Artefact | None:
        """Return the artefact if it is published; its files are not checked, and may be elsewhere.

        Raises:
            StoreDamaged: Its manifest cannot be read.
        """
        name = artefact_name(kind, key)
        return read_artefact(self.artefacts / name) if self.remote is None else self.remote.find(name)

    def load(self, ref: ArtefactRef) -> Artefact:
        """Return an artefact whose files are here and hold what was written.

        Raises:
            StoreMissing: It is not in the store.
            StoreDamaged: A file is missing, altered or too many, or the artefact is not the one referred to.
        """
        artefact = self.get(ref.kind, ref.key)
        if artefact.ref.digest != ref.digest:
            raise StoreDamaged(
                f"artefact {ref} was made anew with another result (digest {ref.digest[:16]} expected, "
                f"is {artefact.ref.digest[:16]})",
                "run again what refers to the former one",
            )
        return artefact

    def get(self, kind: str, key: str) -> Artefact:
        """Return the artefact of a key; its files are here and hold what was written.

        Raises:
            StoreMissing: It is not in the store.
            StoreDamaged: A file is missing, altered or too many.
        """
        artefact = self.find(kind, key)
        if artefact is None:
            raise StoreMissing(
                f"store '{self.uri}' holds no artefact {artefact_name(kind, key)}",
                "run the pipeline that makes it again",
            )
        if self.remote is not None:
            self.remote.fetch(artefact)
        else:
            self.verify(artefact)
        return artefact

    def verify(self, artefact: Artefact, *, deep: bool = False) -> None:
        """Check the files of an artefact where they lie; `deep` hashes even those untouched since last time.

        Raises:
            StoreDamaged: A file is missing, altered or too many.
        """
        found = self.faults(artefact, deep=deep)
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise StoreDamaged(
                f"artefact {artefact.ref} in '{self.uri}': {found[0]}{more}",
                "run the pipeline again to make it anew; `koopcast doctor --store` checks the whole store",
            )

    def faults(self, artefact: Artefact, *, deep: bool) -> list[str]:
        """Return what is wrong with the files of an artefact, one sentence a file; see `verify`."""
        if self.remote is not None:
            return self.remote.faults(artefact, deep=deep)
        return faults(artefact, self.memory(artefact.ref.name), deep=deep)

    @contextmanager
    def produce(
        self,
        kind: str,
        key: str,
        *,
        force: bool = False,
        timeout: float | None = None,
        on_wait: OnWait = report_waiting,
    ) -> Iterator[Slot]:
        """Enter as the only one who makes this artefact, or receive it as `slot.existing` if it is published.

        Others who want the same key wait and then receive it. A published artefact with damaged files is
        moved to `damaged/` and made anew.

        Args:
            kind: Of the artefact.
            key: Of the artefact.
            force: Make it even if it is published. Publishing then replaces it; who still reads it may fail.
            timeout: Seconds to wait for another who makes it; None: as long as it takes.
            on_wait: Called now and then while waiting.

        Raises:
            StoreLocked: Another did not finish within `timeout`.
            StoreNotWritable: The store is read-only or its disk full.
        """
        name = artefact_name(kind, key)
        existing = None if force else self._intact(kind, key)
        lock = self.lock(key)
        if existing is None:
            lock.acquire(timeout=timeout, on_wait=on_wait)
        try:
            send, remote = _as_it_is, self.remote
            if existing is None and not force:
                existing = self._intact(kind, key)
            if existing is None and remote is not None:
                former = remote.held(name)
                existing = None if force else remote.send_copy(name, former)
                send = partial(remote.send, former=former)
            with writing(self.root):
                if existing is None:
                    self._clear(name, keep=force)
                with Slot(self, name, existing, self.unfinished(name), send) as slot:
                    yield slot
        finally:
            lock.release()

    def _intact(self, kind: str, key: str) -> Artefact | None:
        try:
            artefact = self.find(kind, key)
            if artefact is not None:
                self.verify(artefact)
        except StoreDamaged:
            return None
        return artefact

    def _clear(self, name: str, *, keep: bool) -> None:
        """Sweep what dead writers of an artefact left, and set a damaged one aside; its lock is ours."""
        for path in self.leftovers(name):
            remove(path)
        if not keep and (self.artefacts / name).exists():
            self.set_aside(self.artefacts / name)

    def new_run(self, pipeline: str, steps: Mapping[str, StepRecord] | None = None) -> Run:
        """Start the record of a run. Name its steps and keys here: `gc` keeps what a live run names."""
        return create_run(self, pipeline, steps or {})

    def run(self, name: str) -> Run:
        """Return the run `<pipeline>/<run-id>`, or the newest one as `<pipeline>/latest`.

        Raises:
            StoreMissing: There is none.
        """
        return open_run(self, name)

    def runs(self, pipeline: str) -> Iterator[Run]:
        """Yield the runs of a pipeline, newest first."""
        return list_runs(self, pipeline)

    def resolve(self, uri: str) -> ArtefactRef:
        """Return what `runs://<pipeline>/<run-id or latest>/<step>` refers to.

        `latest` is the newest run in which that step completed.

        Raises:
            InvalidInput: The URI has another form.
            StoreMissing: No such pipeline, run or completed step.
        """
        return resolve_step(self, uri)


def _as_it_is(artefact: Artefact) -> Artefact:
    return artefact


_opened: dict[tuple[str, Path, str | None], Store] = {}
"""Stores on object stores that were checked, by address, cache and endpoint: a process opens them often."""


def _open_bucket(uri: str, create: bool) -> Store:
    place = (uri, cache_of(uri), os.environ.get("AWS_ENDPOINT_URL"))
    if place not in _opened:
        _opened[place] = _checked(Bucket(uri), place[1], create)
    return _opened[place]


def _checked(bucket: Bucket, cache: Path, create: bool) -> Store:
    held = bucket.get(_MARK)
    if held is not None:
        _check_format(bucket.uri, held.content)
    elif create:
        _refuse_strangers(bucket.uri, bucket.entries(""))
        bucket.demand_conditions()
        bucket.create(_MARK, _mark())
    else:
        raise StoreMissing(f"there is no store at '{bucket.uri}'", "give the address of one with --store")
    if not (cache / _MARK).is_file():
        _create(cache)
    return Store(cache, Bucket(bucket.uri, PATIENCE))


def _mark() -> bytes:
    return json.dumps({"format": _FORMAT}).encode()


def _check_format(place: str, mark: bytes) -> None:
    try:
        found = json.loads(mark)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(
            f"'{place}/{_MARK}' cannot be read", f'write {{"format": {_FORMAT}}} into it'
        ) from error
    if found != _FORMAT:
        raise StoreError(
            f"store '{place}' has format {found}, this version of Koopcast knows {_FORMAT}",
            "install the version that wrote it, or choose another store",
        )


def _create(root: Path) -> None:
    """Mark an empty directory as a store, so that nothing else is ever swept by mistake."""
    with writing(root.parent):
        root.mkdir(parents=True, exist_ok=True)
        _refuse_strangers(str(root), [path.name for path in root.iterdir()])
        write_whole(root / _MARK, _mark())


def _refuse_strangers(place: str, names: list[str]) -> None:
    strangers = sorted(name for name in names if name[0] != "." and name != "lost+found")
    if strangers and _MARK not in strangers:
        raise InvalidInput(
            f"'{place}' is not a store and holds other things ({', '.join(strangers[:3])})",
            "choose an empty or new place with --store",
        )
