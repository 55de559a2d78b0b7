"""Locks exclude threads, processes and other hosts, and end with their holder."""

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from koopcast import progress
from koopcast.errors import StoreError, StoreLocked
from koopcast.stores import Lock
from koopcast.stores.lock import LEASE, is_held, read_holder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "key.lock"


def test_a_lock_is_held_once_until_released(path: Path) -> None:
    first, second = Lock(path), Lock(path)
    assert not is_held(path)
    assert first.try_acquire()
    assert is_held(path)
    assert not second.try_acquire()
    first.release()
    assert not path.exists()
    assert second.try_acquire()
    second.release()


def test_a_lock_says_who_holds_it(path: Path) -> None:
    lock = Lock(path)
    lock.acquire()
    holder = read_holder(path)
    assert holder is not None
    assert holder.pid == os.getpid()
    assert abs(holder.since - time.time()) < 60
    lock.release()


def test_a_waiting_thread_gets_the_lock_when_it_is_free(path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        lock = Lock(path)
        lock.acquire(timeout=20.0)
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        lock.release()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12


def test_waiting_is_reported_as_progress(path: Path) -> None:
    reports: list[progress.Progress] = []
    holder = Lock(path)
    holder.acquire()
    with progress.listening(reports.append), pytest.raises(StoreLocked):
        Lock(path).acquire(timeout=0.1)
    holder.release()
    assert {report.unit for report in reports} == {"wait"}
    assert reports[0].figures == {"holder_pid": os.getpid()}


def test_a_file_that_its_last_holder_removes_as_we_come_is_no_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = fcntl.flock

    def lose_the_name(descriptor: int, mode: int) -> None:
        path.unlink()
        kernel(descriptor, mode)

    late = Lock(path)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lose_the_name)
        assert not late.try_acquire()
    assert late.try_acquire()
    late.release()


def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="cannot be locked"):
        Lock(path).try_acquire()


def leave(path: Path, *, age: float) -> None:
    """Put a lock file that a holder on another host last touched `age` seconds ago."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": 0.0}))
    os.utime(path, (time.time() - age, time.time() - age))


def test_a_holder_on_another_host_is_respected_for_its_lease(path: Path) -> None:
    leave(path, age=LEASE / 2)
    assert is_held(path)
    assert not Lock(path).try_acquire()
    leave(path, age=LEASE * 2)
    assert not is_held(path)
    lock = Lock(path)
    assert lock.try_acquire()
    lock.release()


def test_a_holder_gives_signs_of_life(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("koopcast.stores.lock.HEARTBEAT", 0.02)
    lock = Lock(path)
    lock.acquire()
    os.utime(path, (0, 0))
    time.sleep(0.3)
    assert time.time() - path.stat().st_mtime < 60
    lock.release()


@pytest.fixture
def child(path: Path) -> Iterator[int]:
    """A forked process that lives on while its parent holds a lock."""
    lock = Lock(path)
    lock.acquire()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    lock._released.set()
    lock._drop()  # as when the parent dies: the file stays, the parent's hold on it ends
    yield pid
    os.close(write)
    os.waitpid(pid, 0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_hold_the_lock_of_its_dead_parent(path: Path, child: int) -> None:
    deadline = time.monotonic() + 5
    while is_held(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    lock = Lock(path)
    assert lock.try_acquire()
    lock.release()
