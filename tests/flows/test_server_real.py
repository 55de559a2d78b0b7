"""A real server and worker: deploy, run on demand and on schedule, stop; nobody else is called meanwhile."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import psutil
import pytest

from flows import server
from flows.embedded import embedded
from flows.processes import wait_until

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
SPY = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        told = address[0] if isinstance(address, tuple) else "unix"
    elif event == "socket.getaddrinfo":
        told = arguments[0]
    else:
        return
    told = told.decode() if isinstance(told, bytes) else told
    with open(os.environ["SPY_LOG"], "a") as file:
        file.write(f"{event} {told}\\n")
sys.addaudithook(note)
"""
LOST = """
import os, pathlib, signal, threading, time
import psutil
from flows import environment, server
from flows.embedded import embedded
from koopcast.errors import EngineError

environment.prepare()
try:
    with embedded() as url, server.attached(url):
        from prefect import flow, task

        @task
        def work():
            for process in psutil.Process().children(recursive=True):
                if process.cmdline()[-2:-1] == ["--port"] and "guard" not in process.cmdline():
                    process.kill()
            time.sleep(1)

        @flow
        def run():
            work.submit().result()

        run()
except EngineError as error:
    print(error)
    server.leave(4)
"""


def python(*arguments: str, seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run Python in the project's root, with this test's environment."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PWD": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


def prefect(*arguments: str) -> str:
    result = python("-m", "prefect", "--no-prompt", *arguments)
    assert result.returncode == 0, result.stdout
    return result.stdout


def flow_runs(url: str) -> list[dict[str, object]]:
    """Return the flow runs of the server that have begun, scheduled and manual."""
    request = Request(
        f"{url}/flow_runs/filter",
        data=json.dumps({"flow_runs": {"start_time": {"is_null_": False}}, "limit": 50}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
        return list(json.load(answer))


def of_home(home: Path) -> list[psutil.Process]:
    """Return the processes that were started for this state directory."""
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = process.environ().get("KOOPCAST_HOME") == str(home) and process.pid != os.getpid()
        except psutil.Error:
            continue
        if is_ours:
            found.append(process)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """State, store and the log of all connections in one directory; every child process is watched."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "spy").mkdir()
    (folder / "spy" / "sitecustomize.py").write_text(SPY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOOPCAST_HOME", str(folder / "home"))
        patch.setenv("KOOPCAST_STORE", str(folder / "runs"))
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        patch.setenv("SPY_LOG", str(folder / "spy.log"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "spy"), str(ROOT)]))
        patch.setenv("DO_NOT_TRACK", "1")
        patch.delenv("PREFECT_API_URL", raising=False)
        yield folder


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[str]:
    """The API of a server that `up` started on a port of its own, with a worker and the deployment `sst`."""
    pytest.importorskip("iris_sample_data", reason="the quickstart's fields come from the extra `examples`")
    local = server.up(port=4296)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", local.url)
        prefect("deploy", "--prefect-file", "deploy/prefect.yaml", "--name", "sst")
        yield local.url
    assert server.down() == ("worker", "server")
    assert of_home(folder / "home") == []
    assert server.down() == ()


def test_up_again_starts_nothing_and_the_server_is_found(api: str) -> None:
    assert server.up(port=4296).started == ()
    assert server.find_server() == api


def test_the_deployed_pipeline_runs_on_demand(api: str) -> None:
    told = prefect("deployment", "run", "pipeline/sst", "--watch")
    assert "finished successfully" in told


def test_the_deployed_pipeline_runs_on_schedule(api: str) -> None:
    """The scheduler looks for work once a minute, so this takes up to two and the time of a run."""
    prefect("deployment", "schedule", "create", "pipeline/sst", "--interval", "60")

    def has_run() -> bool:
        return any(run["auto_scheduled"] and run["state_type"] == "COMPLETED" for run in flow_runs(api))

    try:
        assert wait_until(has_run, lambda: True, 300), [run["state_name"] for run in flow_runs(api)]
    finally:
        prefect("deployment", "schedule", "clear", "pipeline/sst", "--accept-yes")


def test_a_server_that_dies_in_mid_run_ends_the_run_with_an_error_in_bounded_time(folder: Path) -> None:
    begin = time.monotonic()
    result = python("-c", LOST)
    assert result.returncode == 4, result.stdout
    assert "was lost during the run" in result.stdout
    assert "Traceback" not in result.stdout
    assert time.monotonic() - begin < 240


def test_an_embedded_server_starts_warm_and_leaves_nothing(folder: Path) -> None:
    for _ in range(2):
        with embedded() as url:
            assert server.probe(url) is None
            assert os.environ["PREFECT_API_URL"] == url
        assert server.probe(url) is not None
    assert list((folder / "home").glob("prefect-*.db"))
    assert not [process for process in of_home(folder / "home") if "guard" in process.cmdline()]


def test_no_connection_has_left_this_machine(folder: Path) -> None:
    """Runs last: every process of this file, servers and worker too, wrote down whom it called."""
    called = set((folder / "spy.log").read_text().split("\n")) - {""}
    allowed = {"127.0.0.1", "localhost", "::1", "unix", "None", os.uname().nodename}
    assert any("127.0.0.1" in line for line in called)
    assert {line for line in called if line.split(" ", 1)[1] not in allowed} == set()
