"""Real processes that are killed at random moments: the archive ends as that of a chain that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from koopcast.stores import lease

WINDOWS, KILLS = 120, 20
TICK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import Twin, ring
from koopcast.stores import lease
# A dead lease is taken over soon: objects have times in whole seconds.
lease.HEARTBEAT, lease.LEASE = 0.3, 2.5
twin = Twin(*ring(), Path(sys.argv[2]))
options = {"form": sys.argv[5]}
archive = twin.mirrored(sys.argv[3], sys.argv[4], **options) if sys.argv[3] else twin.local(**options)
print("ready", flush=True)
twin.tick(archive, int(sys.argv[6]), wait=30.0)
"""


SERVER = """
import time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(3600)
"""


def start(twin, uri: str, machine: str, form: str, last: int = WINDOWS - 1) -> subprocess.Popen[str]:
    """A process that ticks; it is about to begin."""
    arguments = [str(Path(__file__).parent), str(twin.folder), uri, machine, form, str(last)]
    process = subprocess.Popen(
        [sys.executable, "-c", TICK, *arguments], env=os.environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
    return process


def kill_at_random(twin, uri: str, form: str) -> None:
    """Kill ticks at random moments; on an object store, from two machines in turn."""
    killed = 0
    for number, moment in enumerate(np.random.default_rng(0).uniform(0.05, 0.45, KILLS)):
        process = start(twin, uri, "ab"[number // 4 % 2], form)
        if uri and number and number % 4 == 0:
            # Another machine waits for the dead lease first.
            time.sleep(3.0)
        try:
            process.wait(timeout=float(moment))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    # A machine so fast that it comes to the end before was killed often enough on the way.
    assert killed >= KILLS // 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["windows", "icechunk"])
def test_twenty_kills_of_a_local_archive(twin, content, form):
    twin.deliver(range(WINDOWS))
    kill_at_random(twin, "", form)
    archive = twin.local(form=form)
    assert archive.faults() == []
    twin.tick(archive, WINDOWS - 1)
    whole = twin.local("whole", form=form)
    twin.tick(whole, WINDOWS - 1)
    assert content(archive) == content(whole)
    assert archive.fields("analysis").equals(whole.fields("analysis"))
    assert archive.faults() == []


@pytest.fixture
def object_store() -> Iterator[str]:
    """An object store in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.wait()


@pytest.mark.slow
def test_twenty_kills_of_an_archive_on_an_object_store(twin, content, bucket_uri, monkeypatch):
    twin.deliver(range(WINDOWS))
    kill_at_random(twin, bucket_uri, "windows")
    archive = twin.mirrored(bucket_uri, "a")
    archive.pull()
    published = len(archive.labels())
    assert 0 < published <= WINDOWS
    monkeypatch.setattr(lease, "LEASE", 2.5)
    twin.tick(archive, WINDOWS - 1, wait=30.0)
    whole = twin.local("whole")
    twin.tick(whole, WINDOWS - 1)
    fresh = twin.mirrored(bucket_uri, "c")
    assert content(fresh) == content(whole)
    assert fresh.faults() == []


@pytest.mark.slow
@pytest.mark.parametrize("form", ["windows", "icechunk"])
def test_two_processes_at_once_lose_nothing(twin, content, bucket_uri, form):
    twin.deliver(range(12))
    for round_ in range(4):
        last = 3 * round_ + 2
        processes = [start(twin, bucket_uri, machine, form, last) for machine in "ab"]
        for process in processes:
            assert process.wait(timeout=120) == 0
    whole = twin.local("whole", form=form)
    twin.tick(whole, 11)
    fresh = twin.mirrored(bucket_uri, "c", form=form)
    assert content(fresh) == content(whole)
    assert fresh.fields("analysis").equals(whole.fields("analysis"))
    assert fresh.faults() == []
