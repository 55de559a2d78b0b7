"""A Dask cluster that stands at an address: the bytes of one process, also where a worker is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.processes import wait_until
from flows.request import Request, RunResult
from flows.run import carry_out
from koopcast.stores import Store, doctor

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
SECONDS = 400
"""A command may take so long on a busy machine."""
SWEEP = """
sweep:
  over: {steps.analysis.method.inflation.factor: [1.02, 1.06, 1.1]}
"""


def swept(small: Path) -> None:
    """Write a sweep of the small pipeline beside it."""
    text = (
        small.read_text()
        .replace("name: small", "name: swept")
        .replace("rmse(analysis)", "rmse(analysis.best)")
    )
    small.with_name("swept.yaml").write_text(text + SWEEP)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "KOOPCAST_HOME": str(folder / "home")}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, started as their own commands; each worker restarts its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    log = (tmp_path / "dask.log").open("wb")

    def start(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
        return subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=log, stderr=log)

    host, port = address.removeprefix("tcp://").split(":")
    scheduler = start("scheduler", "--host", host, "--port", port)
    one = ("--nworkers", "1", "--nthreads", "1", "--local-directory", str(tmp_path), "--host", host)
    workers = [start("worker", address, *one) for _ in range(2)]
    try:
        assert wait_until(lambda: log_holds(tmp_path, 2), lambda: scheduler.poll() is None, 90)
        yield address, workers
    finally:
        for process in [*workers, scheduler]:
            for child in (
                psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ()
            ):
                child.kill()
            process.kill()
            process.wait()
        log.close()


def log_holds(folder: Path, workers: int) -> bool:
    return (folder / "dask.log").read_text(errors="replace").count("Registered to:") >= workers


def command(folder: Path, file: str, store: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "run", file, "--store", store, "--json", *options]


Digests = dict[str, tuple[str, str, str]]


def run(folder: Path, file: str, store: str, *options: str) -> Digests:
    """Return key, state and digest of each step."""
    done = subprocess.run(
        command(folder, file, store, *options), cwd=folder, env=environment(folder), capture_output=True,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return digests(RunResult.model_validate_json(done.stdout))


def in_this_process(folder: Path, file: str) -> Digests:
    """Return the same of a run on the engine that knows no cluster."""
    request = Request(pipeline=str(folder / file), store=str(folder / "inline"))
    return digests(carry_out(prepare(request), InlineEngine(), Silent()))


def digests(result: RunResult) -> Digests:
    return {
        name: (
            step.key,
            step.state,
            json.loads((Path(str(step.artefact)) / "manifest.json").read_text())["digest"],
        )
        for name, step in result.steps.items()
    }


def test_a_pipeline_and_a_sweep_on_a_cluster_leave_the_bytes_of_one_process(
    small: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    swept(small)
    on_cluster = ("--engine", "prefect", "--set", f"runner={{kind: dask, address: '{cluster[0]}'}}")
    for file in ("small.yaml", "swept.yaml"):
        inline = in_this_process(tmp_path, file)
        assert run(tmp_path, file, "dask", *on_cluster) == inline
    assert doctor(Store.open(tmp_path / "dask")).is_clean


def test_a_worker_that_is_killed_costs_time_and_nothing_else(
    small: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    swept(small)
    inline = in_this_process(tmp_path, "swept.yaml")
    options = ("--engine", "prefect", "--set", f"runner={{kind: dask, address: '{cluster[0]}'}}")
    with (tmp_path / "run.log").open("w") as log:
        process = subprocess.Popen(
            command(tmp_path, "swept.yaml", "dask", *options), cwd=tmp_path, env=environment(tmp_path),
            stdout=log, stderr=log,
        )  # fmt: skip
    artefacts = tmp_path / "dask" / "artefacts"
    begun = wait_until(lambda: any(artefacts.glob("dataset-*")), lambda: process.poll() is None, SECONDS)
    assert begun, (tmp_path / "run.log").read_text()
    victim = cluster[1][0]
    for child in psutil.Process(victim.pid).children(recursive=True):
        child.send_signal(signal.SIGKILL)
    victim.kill()
    process.wait(timeout=SECONDS)
    # The other worker takes over, or the run ends with an error in words; either way the command goes on.
    assert "Traceback" not in (tmp_path / "run.log").read_text()
    assert run(tmp_path, "swept.yaml", "dask", *options) == inline
    assert doctor(Store.open(tmp_path / "dask")).is_clean
