"""A worker that is started and stopped as its unit says, in the middle of a tick."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from flows.embedded import embedded
from flows.processes import wait_until
from koopcast.cycles.archive import Archive
from tasks.standing import standing

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy" / "systemd" / "koopcast-worker.service").read_text()
TRUTH = """
name: ring
seed: 1
threads: 1
steps:
  truth:
    task: generate
    system: {kind: lorenz96, points: 40}
    steps: 100
    split: {time: {train: ..3, test: 3.05..}}
"""
CYCLE = """
name: long
seed: 3
model: runs://ring/latest/truth.system
observations: {kind: table, path: inbox/*.csv, error: {std: 1.0}, settle: 0}
method: {kind: etkf, members: 16}
cycle: {start: 2020-01-01, step: PT6H, record: PT6H, end: 2021-12-31}
max_catchup: 5000
threads: 1
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of its own, and everything below one directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOOPCAST_HOME", str(tmp_path / "home"))
        patch.setenv("KOOPCAST_STORE", str(tmp_path / "runs"))
        patch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("DO_NOT_TRACK", "1")
        with embedded() as url:
            yield url


def python(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def worker(folder: Path, url: str) -> subprocess.Popen[bytes]:
    """Start the line of the unit with its environment; signals have their default action, as in systemd."""
    program, *words = re.findall(r"^ExecStart=(.+)$", UNIT, re.MULTILINE)[0].split()
    assert program.endswith("/prefect")
    own = dict(
        word.split("=", 1)
        for line in re.findall(r"^Environment=(.+)$", UNIT, re.MULTILINE)
        for word in line.split()
    )
    here = {name: os.environ[name] for name in ("PREFECT_HOME", "KOOPCAST_STORE")}
    with (folder / "worker.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", *words],
            cwd=ROOT,
            env={**os.environ, **own, **here, "PREFECT_API_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )


def test_a_worker_stops_on_the_signal_of_its_unit_in_a_tick_and_the_next_tick_goes_on(
    tmp_path: Path, url: str
) -> None:
    (tmp_path / "ring.yaml").write_text(TRUTH)
    (tmp_path / "long.yaml").write_text(CYCLE)
    (tmp_path / "inbox").mkdir()
    moments = [
        pd.Timestamp("2020-01-01") + pd.Timedelta(hours=6 * window, minutes=-20) for window in range(2000)
    ]
    table = pd.DataFrame({"time": moments, "state": [k % 40 for k in range(2000)], "value": 1.0})
    table.to_csv(tmp_path / "inbox/reports.csv", index=False)
    python("flows.cli", "run", str(tmp_path / "ring.yaml"), "--engine", "inline")
    process = worker(tmp_path, url)
    archive = Archive(tmp_path / "runs" / "cycles" / "long")
    try:
        python("flows.cli", "deploy", str(tmp_path / "long.yaml"))
        python("prefect", "--no-prompt", "deployment", "run", "cycle/long")
        begun = wait_until(lambda: len(archive.labels()) >= 10, lambda: process.poll() is None, 200)
        assert begun, (tmp_path / "worker.log").read_text()
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        # KillMode=mixed: the signal goes to the main process alone.
        assert {"KillSignal=SIGINT", "KillMode=mixed"} <= set(UNIT.splitlines())
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=int(re.findall(r"^TimeoutStopSec=(\d+)", UNIT, re.MULTILINE)[0]))
        assert wait_until(lambda: not any(child.is_running() for child in family), lambda: True, 30)
        print(f"stopped in {time.monotonic() - begin:.1f} s with code {process.returncode}")
    finally:
        process.kill()
    assert "Traceback" not in (tmp_path / "worker.log").read_text()
    labels = archive.labels()
    assert 10 <= len(labels) < 2000
    assert standing(archive).faults == []
    until = (pd.Timestamp("2020-01-01") + pd.Timedelta(hours=6 * (len(labels) + 4))).isoformat()
    told = python("flows.cli", "cycle", str(tmp_path / "long.yaml"), "--until", until)
    assert told.count("analysis") == 5
    assert standing(archive, pd.Timestamp(until)).state == "well"
