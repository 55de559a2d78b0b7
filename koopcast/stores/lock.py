"""Locks between threads, processes and hosts, which a killed holder cannot leave behind."""

import errno
import fcntl
import functools
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from weakref import WeakSet

from koopcast import progress
from koopcast.errors import StoreError, StoreLocked
from koopcast.stores.durable import writing

HEARTBEAT = 10.0
"""Seconds between two signs of life of a holder."""
LEASE = 60.0
"""Seconds without a sign of life after which a holder on another host counts as dead."""
_FIRST_POLL, _LONGEST_POLL = 0.02, 0.2


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    host: str
    pid: int
    since: float

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


OnWait = Callable[[Holder | None, float], None]
"""Called now and then while waiting, with the holder (where known) and the seconds waited."""


def report_waiting(holder: Holder | None, waited: float) -> None:
    """Tell the progress listener that we wait for another run."""
    progress.report("wait", int(waited), 0, holder_pid=float(holder.pid if holder else 0))


class Lock:
    """An exclusive lock on a file.

    The kernel holds it (`flock`), for one open file: it excludes threads of one process as it excludes
    processes, and ends with its holder, kill -9 included. Where a file system does not carry `flock` between
    hosts, the file's text and modification time are a lease: a holder on another host is respected until it
    gave no sign of life for `LEASE` seconds. The lease presumes clocks that agree within it, and cannot stop
    a holder that was suspended for longer; publishing stays one atomic rename then too, so the worst is that
    work is done twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._released = threading.Event()
        self._beat: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        """Whether somebody alive holds the lock."""
        return is_held(self.path)

    def acquire(self, *, timeout: float | None = None, on_wait: OnWait = report_waiting) -> None:
        """Wait for the lock.

        Raises:
            StoreLocked: It was not free within `timeout` seconds.
            StoreNotWritable: The store is read-only.
        """
        start, pause = time.monotonic(), _FIRST_POLL
        while not self.try_acquire():
            waited = time.monotonic() - start
            if timeout is not None and waited >= timeout:
                raise StoreLocked(
                    f"lock '{self.path.name}' is held by {read_holder(self.path) or 'an unknown process'}, "
                    f"waited {waited:.0f} s",
                    "wait for that run, end it, or allow more time",
                )
            on_wait(read_holder(self.path), waited)
            time.sleep(pause if timeout is None else min(pause, max(0.0, timeout - waited)))
            pause = min(2 * pause, _LONGEST_POLL)

    def try_acquire(self) -> bool:
        """Take the lock if it is free, and return whether it was.

        Raises:
            StoreNotWritable: The store is read-only.
            StoreError: Its file system knows no locks.
        """
        with writing(self.path.parent.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            is_ours = _flock(descriptor) and _is_at(descriptor, self.path) and not _is_leased(self.path)
        except OSError as error:
            os.close(descriptor)
            raise StoreError(
                f"'{self.path}' cannot be locked ({error})", "keep the store on a disk with flock"
            ) from error
        if not is_ours:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held().add(self)
        _sign(descriptor)
        self._released.clear()
        self._beat = threading.Thread(
            target=self._give_signs, args=(descriptor,), daemon=True, name="lock heartbeat"
        )
        self._beat.start()
        return True

    def release(self) -> None:
        """Give the lock back; the file goes with it."""
        if self._descriptor is None:
            return
        self._released.set()
        if self._beat is not None:
            self._beat.join()
        if _is_at(self._descriptor, self.path):
            self.path.unlink(missing_ok=True)
        self._drop()

    def _drop(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _give_signs(self, descriptor: int) -> None:
        while not self._released.wait(HEARTBEAT):
            with suppress(OSError):
                os.utime(descriptor)


def is_held(path: Path) -> bool:
    """Return whether somebody alive holds the lock; works on a read-only store."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH) or _is_leased(path)
    finally:
        os.close(descriptor)


def read_holder(path: Path) -> Holder | None:
    """Return who holds, or last held, the lock; None where the file does not say."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _flock(descriptor: int, mode: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file still has its name: its last holder may have removed it as we came."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_leased(path: Path) -> bool:
    holder = read_holder(path)
    if holder is None or holder.host == socket.gethostname():
        return False
    try:
        return time.time() - path.stat().st_mtime < LEASE
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write who we are. On a full disk the lock holds without it: only messages are poorer."""
    holder = Holder(socket.gethostname(), os.getpid(), time.time())
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
    except OSError:
        return


@functools.cache
def _held() -> "WeakSet[Lock]":
    """Return the locks of this process; a forked child closes its copies, lest it stay holder after us."""
    locks: WeakSet[Lock] = WeakSet()

    def close_copies() -> None:
        for lock in tuple(locks):
            lock._drop()
        locks.clear()

    os.register_at_fork(after_in_child=close_copies)
    return locks
