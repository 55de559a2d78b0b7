"""A lock that holds between machines which share an object store and nothing else."""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from koopcast.errors import KoopcastError, StoreLocked
from koopcast.stores.bucket import Bucket, Held
from koopcast.stores.durable import temporary_sibling, writing
from koopcast.stores.lock import HEARTBEAT, LEASE, Holder, Lock, OnWait, report_waiting

IDENTITY = "folder.id"
"""File of the folder of locks."""
_FIRST_POLL, _LONGEST_POLL = 0.1, 2.0


@dataclass(frozen=True)
class Leaseholder(Holder):
    """Who holds a lease, and beside which folder of its machine."""

    folder: str
    """Identity of the folder; its path may be another machine's too."""
    token: str
    """Of one lease; another of the same process has another."""
    beat: int = 0
    """Signs of life so far."""


@dataclass(frozen=True)
class _Seen:
    """A lease of another, and how old it was at a moment of our own clock."""

    held: Held
    age: float
    at: float


class Lease:
    """An exclusive lock on an object, beside a lock on the folder of this machine that caches the store.

    An object is created by the one who holds, renewed every `HEARTBEAT` seconds, and deleted at the end. A
    lease that was not renewed for `LEASE` seconds, by the clock of the object store, is dead and may be
    taken over; so is, at once, one of this machine and folder, since who holds the folder's lock knows that
    its holder is gone. A holder that was suspended for longer learns it: `is_ours` turns false, and the
    conditions of its writes fail.

    Args:
        local: Lock of the same thing in the folder of this machine.
        bucket: Where the object lies.
        name: Of the object.
    """

    def __init__(self, local: Lock, bucket: Bucket, name: str) -> None:
        self.path = local.path
        self._local, self._bucket, self._name = local, bucket, name
        self._tag = ""
        self._holder: Leaseholder | None = None
        self._seen: _Seen | None = None
        self._released = threading.Event()
        self._beat: threading.Thread | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the lease is held, as far as its last sign of life tells."""
        return bool(self._tag)

    @property
    def is_held(self) -> bool:
        """Whether somebody alive holds the lease."""
        if self._local.is_held:
            return True
        held = self._bucket.get(self._name)
        return held is not None and not self._is_dead(held)

    def acquire(self, *, timeout: float | None = None, on_wait: OnWait = report_waiting) -> None:
        """Wait for the lock.

        Raises:
            StoreLocked: It was not free within `timeout` seconds.
        """
        start, pause = time.monotonic(), _FIRST_POLL
        self._local.acquire(timeout=timeout, on_wait=on_wait)
        try:
            while not self._take():
                waited = time.monotonic() - start
                holder = _holder(self._seen.held if self._seen is not None else None)
                if timeout is not None and waited >= timeout:
                    raise StoreLocked(
                        f"lock '{self._name}' of '{self._bucket.uri}' is held by "
                        f"{holder or 'an unknown process'}, waited {waited:.0f} s",
                        "wait for that run, end it, or allow more time",
                    )
                on_wait(holder, waited)
                time.sleep(pause if timeout is None else min(pause, max(0.0, timeout - waited)))
                pause = min(2 * pause, _LONGEST_POLL)
        except BaseException:
            self._local.release()
            raise

    def try_acquire(self) -> bool:
        """Take the lock if it is free, and return whether it was."""
        if not self._local.try_acquire():
            return False
        try:
            taken = self._take()
        except BaseException:
            self._local.release()
            raise
        if not taken:
            self._local.release()
        return taken

    def release(self) -> None:
        """Give the lock back."""
        self._released.set()
        if self._beat is not None:
            self._beat.join()
        if self.is_ours:
            with suppress(KoopcastError):
                # Deletions know no condition: a lease that another took over meanwhile is not ours to delete.
                self._renew()
                self._bucket.delete([self._name])
        self._tag, self._beat = "", None
        self._local.release()

    def _take(self) -> bool:
        holder = _ourselves(self.path.parent)
        held = self._bucket.get(self._name)
        try:
            if held is None:
                self._tag = self._bucket.create(self._name, _text(holder))
            elif self._is_dead(held):
                self._tag = self._bucket.replace(self._name, _text(holder), held.tag)
            else:
                return False
        except StoreLocked:
            return False
        self._holder = holder
        self._released.clear()
        self._beat = threading.Thread(target=self._give_signs, daemon=True, name="lease heartbeat")
        self._beat.start()
        return True

    def _is_dead(self, held: Held) -> bool:
        holder, ours = _holder(held), _ourselves(self.path.parent)
        if holder is not None and (holder.host, holder.folder) == (ours.host, ours.folder):
            return True
        return self._age(held) > LEASE

    def _age(self, held: Held) -> float:
        """Return the seconds since the last sign of life.

        The object store is asked for its time at first sight; from then on a sign of life is a new tag.
        """
        now = time.monotonic()
        if self._seen is None:
            self._seen = _Seen(held, (self._bucket.now() - held.modified).total_seconds(), now)
        elif self._seen.held.tag != held.tag:
            self._seen = _Seen(held, 0.0, now)
        return self._seen.age + now - self._seen.at

    def _give_signs(self) -> None:
        while not self._released.wait(HEARTBEAT):
            try:
                self._renew()
            except StoreLocked:
                self._tag = ""
                return
            except KoopcastError:
                continue

    def _renew(self) -> None:
        assert self._holder is not None
        self._holder = replace(self._holder, beat=self._holder.beat + 1)
        self._tag = self._bucket.replace(self._name, _text(self._holder), self._tag)


def _ourselves(folder: Path) -> Leaseholder:
    return Leaseholder(socket.gethostname(), os.getpid(), time.time(), _identity(folder), uuid4().hex)


def _identity(folder: Path) -> str:
    """Return a word that this folder has, and no other of its path: containers share names and paths."""
    path = folder / IDENTITY
    if not path.is_file():
        draft = temporary_sibling(path)
        with writing(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(uuid4().hex, encoding="utf-8")
            with suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
    return path.read_text(encoding="utf-8")


def _holder(held: Held | None) -> Leaseholder | None:
    try:
        return None if held is None else Leaseholder(**json.loads(held.content))
    except (ValueError, TypeError):
        return None


def _text(holder: Leaseholder) -> bytes:
    return json.dumps(asdict(holder)).encode()
