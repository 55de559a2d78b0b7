"""A Prefect server with its database and process workers, each of which can be killed and started again."""

import base64
import json
import secrets
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import psutil

from flows import server
from flows.environment import SERVER, WORKER, inherited
from flows.processes import Background, tail, wait_until
from tests.faults.database import Postgres, Sqlite, free_port, kill_tree

ROOT = Path(__file__).parents[2]
RETRIES = 60
"""Times that a request is made again, a second apart."""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class World:
    """A server, its database and its workers in a folder.

    Args:
        folder: Where state, logs and stores go.
        database: Which the server uses.
    """

    def __init__(self, folder: Path, database: Sqlite | Postgres) -> None:
        self.folder, self.database = folder, database
        self.url = server.loopback_url(free_port())
        self.authorization = f"admin:{secrets.token_hex(12)}"
        self.settings: dict[str, str] = {}
        """More of the environment of worker and runs."""
        self.server = Background(folder, "server")
        self.workers: dict[str, Background] = {}
        self.deployed = ""
        """The id of a deployment that is there for every cycle."""
        self._number = 0

    def start(self) -> None:
        """Start the database, the server and one worker."""
        self.database.start()
        self.start_server()
        self.start_worker("one")

    def stop(self) -> None:
        """Kill all that runs."""
        for background in [*self.workers.values(), self.server]:
            if (process := background.process()) is not None:
                kill_tree(process)
        for process in self.runs().values():
            kill_tree(process)
        self.database.stop()

    def environment(self) -> dict[str, str]:
        """Return the environment of a client."""
        return {
            **inherited("PREFECT_PROFILE"),
            "KOOPCAST_HOME": str(self.folder / "home"),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": self.authorization,
            "PYTHONPATH": str(ROOT),
            "PWD": str(ROOT),
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
            **self.settings,
        }

    def start_server(self) -> None:
        """Start the server with the settings of `koopcast up`."""
        environment = server.server_environment(SERVER, self.folder / "prefect") | {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database.url,
            "PREFECT_SERVER_API_AUTH_STRING": self.authorization,
            "PREFECT_API_AUTH_STRING": self.authorization,
            "PREFECT_SERVER_UI_ENABLED": "false",
        }
        self.server.start(server.server_command(self.url), environment)
        self.await_server()

    def await_server(self) -> None:
        """Wait until the server answers."""
        if not wait_until(
            lambda: server.probe(self.url) is None, lambda: self.server.process() is not None, 180
        ):
            raise RuntimeError(f"the server did not start:\n{tail(self.server.log, 40)}")

    def kill_server(self) -> bool:
        """Kill -9 the server; return whether it was alive."""
        process = self.server.process()
        return process is not None and kill_tree(process)

    def start_worker(self, name: str) -> None:
        """Start a worker with the settings of `koopcast up`; it is listed under a name of its own."""
        self._number += 1
        listed = f"{name}-{self._number}"
        background = self.workers.setdefault(name, Background(self.folder, f"worker-{name}"))
        command = [
            sys.executable,
            "-m",
            "prefect",
            "worker",
            "start",
            "--pool",
            "koopcast",
            "--type",
            "process",
        ]
        background.start([*command, "--name", listed, "--limit", "1"], self.environment() | WORKER)
        if not wait_until(lambda: self._is_online(listed), lambda: background.process() is not None, 180):
            raise RuntimeError(f"the worker did not start:\n{tail(background.log, 40)}")

    def kill_worker(self, name: str) -> bool:
        """Kill -9 a worker alone, not the runs that it started; return whether it was alive."""
        process = self.workers[name].process()
        if process is None:
            return False
        process.kill()
        process.wait(10)
        return True

    def _is_online(self, name: str) -> bool:
        try:
            rows = self.call(
                "work_pools/koopcast/workers/filter", {"workers": {"status": {"any_": ["ONLINE"]}}}
            )
        except URLError:
            return False
        return any(row["name"] == name for row in rows)

    def call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Return what the API answers; ask again while a server is busy or comes back."""
        for _ in range(RETRIES):
            try:
                return self._answer(path, body, method)
            except HTTPError as error:
                if error.code != 503:
                    raise
            except (URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(1)
        return self._answer(path, body, method)

    def _answer(self, path: str, body: Any, method: str | None) -> Any:
        token = base64.b64encode(self.authorization.encode()).decode()
        request = Request(
            f"{self.url}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Basic {token}"},
            method=method,
        )
        with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the root of the project as a client of this server."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip

    def koopcast(self, *arguments: str, expected: int = 0) -> str:
        """Run a command of Koopcast and return what it printed."""
        result = self.python("-m", "flows.cli", *arguments)
        if result.returncode != expected:
            raise RuntimeError(f"koopcast {' '.join(arguments)}: {result.returncode}\n{result.stdout}")
        return result.stdout

    def deployment(self, name: str) -> str:
        """Return the id of a deployment."""
        return str(self.call(f"deployments/name/{name}")["id"])

    def create_run(self, deployment: str, scheduled: datetime | None = None, **parameters: Any) -> str:
        """Ask for a run, as of now or of another time; return its id."""
        moment = (scheduled or datetime.now(UTC)).isoformat()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": moment}}
        body = {"parameters": parameters, "state": state}
        return str(self.call(f"deployments/{deployment}/create_flow_run", body)["id"])

    def state(self, run: str) -> str:
        """Return the type of a run's state, such as RUNNING."""
        return str(self.call(f"flow_runs/{run}")["state_type"])

    def await_end(self, run: str, seconds: float) -> str:
        """Wait until a run ends, and return its state."""
        wait_until(lambda: self.state(run) in ENDED, lambda: True, seconds)
        return self.state(run)

    def runs(self) -> dict[str, psutil.Process]:
        """Return the processes of flow runs of this world, by run, orphans too."""
        found = {}
        for process in psutil.process_iter():
            try:
                if process.name().startswith("python"):
                    environment = process.environ()
                    run = environment.get("PREFECT__FLOW_RUN_ID")
                    if run and environment.get("KOOPCAST_HOME") == str(self.folder / "home"):
                        found.setdefault(run, process)
            except psutil.Error:
                continue
        return found

    def await_process(self, run: str, seconds: float = 60.0) -> psutil.Process | None:
        """Return the process of a run as soon as there is one; None where it ended or never came."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (process := self.runs().get(run)) is not None:
                return process
            if self.state(run) in ENDED:
                return None
            time.sleep(0.1)
        return None
