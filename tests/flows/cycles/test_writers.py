"""One writer at a time, killed at any moment, on one machine or several."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flows.cycle import make
from koopcast.errors import StoreLocked, StoreNotWritable
from tasks.cycle import tick
from tests.flows.conftest import Command, Ended
from tests.flows.cycles.conftest import CYCLE, at, content, cycle, deliver, remove

LONG = 180
TICK = """
import sys
from pathlib import Path
import pandas as pd
from flows.cycle import make
from tasks.cycle import tick
place = Path(sys.argv[1])
tick(make(place / "twin.yaml", (), str(place / "store")), pd.Timestamp(sys.argv[2]))
"""


def test_a_second_writer_is_refused(place: Path) -> None:
    deliver(place, range(2))
    ready = cycle(place)
    lock = ready.archive.lock()
    assert lock.try_acquire()
    with pytest.raises(StoreLocked):
        tick(ready, at(1))
    lock.release()
    assert len(tick(ready, at(1)).done) == 2


def test_a_writer_that_is_told_to_wait_goes_on_when_the_first_is_done(place: Path) -> None:
    deliver(place, range(2))
    ready = cycle(place)
    lock = ready.archive.lock()
    assert lock.try_acquire()
    other = threading.Timer(0.3, lock.release)
    other.start()
    assert len(tick(ready, at(1), wait=60.0).done) == 2
    other.join()


def test_reports_that_the_first_writer_read_are_not_lost_to_the_one_who_waited(place: Path) -> None:
    """The file may be gone by then: what was read of it counts."""
    deliver(place, range(3))
    waited = cycle(place)
    assert len(tick(cycle(place), at(1)).done) == 2
    for path in (place / "inbox").iterdir():
        path.unlink()
    assert [manifest.source for manifest in tick(waited, at(2)).done] == ["analysis"]


def test_a_question_what_is_due_waits_for_no_writer_and_reads_nothing_beside_one(
    place: Path, koopcast: Command
) -> None:
    deliver(place, range(2))
    ready = cycle(place)
    words = ("cycle", str(place / "twin.yaml"), "--store", str(place / "store"), "--dry-run", "--until")
    lock = ready.archive.lock()
    assert lock.try_acquire()
    refused = koopcast(*words, str(at(1)).replace(" ", "T"))
    assert (refused.returncode, "is held by process" in refused.stderr) == (1, True)
    assert not (ready.archive.inbox / "ledger.json").exists()
    lock.release()
    assert koopcast(*words, str(at(1)).replace(" ", "T")).returncode == 0
    assert ready.archive.labels() == []


def test_windows_that_may_not_be_read_are_no_reason_to_sweep_what_they_hold(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(place, range(2))
    ready = cycle(place)
    tick(ready, at(0))
    before = content(ready.archive)
    real = os.listdir

    def guarded(path: Path) -> list[str]:
        if Path(path).name == "windows":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr("os.listdir", guarded)
        with pytest.raises(StoreNotWritable, match="Permission denied"):
            tick(cycle(place), at(1))
    assert content(ready.archive) == before


@pytest.mark.slow
def test_kills_at_random_moments_leave_the_bytes_of_an_unbroken_chain(place: Path) -> None:
    deliver(place, range(LONG))
    ready = cycle(place)
    tick(ready, at(LONG - 1))
    whole = content(ready.archive)
    remove(ready.archive)
    g = np.random.default_rng(0)
    kills = 0
    for _ in range(200):
        process = subprocess.Popen(
            [sys.executable, "-c", TICK, str(place), str(at(LONG - 1))], env=os.environ
        )
        try:
            process.wait(timeout=float(g.uniform(2, 7)) if kills < 20 else 300)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(0.05)
    assert kills >= 8
    tick(cycle(place), at(LONG - 1))
    assert content(ready.archive) == whole
    assert ready.archive.faults() == []


def test_machines_that_share_a_bucket_go_on_with_one_archive_and_one_of_two_is_refused(
    place: Path, bucket_uri: str, koopcast: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(place, range(8))
    (place / "twin.yaml").write_text(CYCLE)
    ours = make(place / "twin.yaml", (), str(place / "store"))
    tick(ours, at(7))
    assert koopcast("run", str(place / "ring.yaml"), "--store", bucket_uri).returncode == 0

    def machine(name: str, command: str, *more: str) -> Ended:
        monkeypatch.setenv("KOOPCAST_CACHE", str(place / name))
        return koopcast(command, *more, "--store", bucket_uri)

    file = str(place / "twin.yaml")
    first = machine("here", "cycle", file, "--until", "2020-01-02T00:00")
    assert (first.returncode, first.stdout.count("analysis")) == (0, 4)
    second = machine("there", "cycle", file, "--until", "2020-01-03T00:00")
    assert (second.returncode, second.stdout.count("analysis")) == (0, 4)
    known = json.loads(machine("elsewhere", "status", "twin", "--json").stdout)
    assert (known["windows"], known["faults"]) == (8, [])
    theirs = make(file, (), bucket_uri)
    theirs.archive.pull()
    assert content(theirs.archive) == content(ours.archive)
    lock = theirs.archive.lock()
    assert lock.try_acquire()
    deliver(place, range(9))
    refused = machine("here", "cycle", file, "--until", "2020-01-03T06:00")
    assert refused.returncode == 1
    assert "is held by process" in refused.stderr
    lock.release()
    assert machine("here", "cycle", file, "--until", "2020-01-03T06:00").returncode == 0
    assert machine("there", "status", "twin", "--at", "2020-01-03T06:00").returncode == 0
