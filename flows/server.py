"""Reach, start and stop a Prefect server. Nothing here waits without a limit, and nothing imports prefect."""

import base64
import fcntl
import json
import os
import platform
import socket
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from flows.environment import SERVER, STARTUP_SECONDS, WORKER, inherited
from flows.processes import Background, tail, wait_until
from koopcast.errors import EngineError, KoopcastError

POOL = "koopcast"
PORT = 4200
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Local:
    """What `up` made sure of."""

    url: str
    started: tuple[str, ...]
    """`server`, `worker`: what was not running before."""
    logs: tuple[Path, ...]


def home() -> Path:
    """Return the directory of server state and logs: `$KOOPCAST_HOME`, by default `~/.koopcast`."""
    return Path(os.environ.get("KOOPCAST_HOME") or Path.home() / ".koopcast").expanduser().absolute()


def find_server() -> str | None:
    """Return the API URL of the server to use, None if there is none.

    In this order: `PREFECT_API_URL`, the URL of Prefect's active profile, the server that `up` started, a
    server on port 4200 of this machine.

    Raises:
        EngineError: A server is configured and does not answer as one.
    """
    url, origin = _configured()
    if url:
        fault = probe(url, seconds=5.0)
        if fault:
            raise EngineError(
                f"the Prefect server at {url} ({origin}) {fault}",
                f"start it, correct {origin}, or run with --engine inline",
            )
        return url
    for candidate in (Background(home(), "server").facts().get("url"), loopback_url(PORT)):
        if isinstance(candidate, str) and probe(candidate, seconds=1.0) is None:
            return candidate
    return None


def probe(url: str, seconds: float = 2.0) -> str | None:
    """Ask an API for its health; return None if it is well, else what happened instead."""
    if urlsplit(url).scheme not in ("http", "https"):
        return "has no http(s) URL"
    handlers = [ProxyHandler({})] if urlsplit(url).hostname in LOOPBACK else []
    request = Request(f"{url.rstrip('/')}/health", headers=_authorization())
    try:
        with build_opener(*handlers).open(request, timeout=seconds) as answer:
            body = answer.read(200).strip()
    except HTTPError as error:
        error.close()
        return f"answers {error.code} {error.reason}"
    except TimeoutError:
        return f"does not answer within {seconds:g} s"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        is_timeout = isinstance(reason, TimeoutError)
        return f"does not answer within {seconds:g} s" if is_timeout else f"cannot be reached ({reason})"
    return None if body == b"true" else f"does not answer like a Prefect API ({body[:40]!r})"


def up(
    say: Say = print, *, port: int = PORT, limit: int = 1, start_seconds: float = STARTUP_SECONDS
) -> Local:
    """Make sure that a local server and a worker for the pool `koopcast` run; once more does nothing.

    Args:
        say: Where lines for a person go.
        port: Port of the server on the loopback interface.
        limit: How many flow runs the worker executes at once.
        start_seconds: How long each of the two may take.

    Raises:
        EngineError: One of them did not start; the message holds the end of its log.
    """
    state = writable(home())
    server, worker = Background(state, "server"), Background(state, "worker")
    with _locked(state):
        url, started = _ensure_server(server, port, start_seconds, say)
        if worker.process() is not None and worker.facts().get("url") != url:
            worker.stop()
        if worker.process() is None:
            say(f"starting a worker for the pool {POOL!r} (log: {worker.log})")
            try:
                _start_worker(worker, url, limit, start_seconds)
            except BaseException:
                if started:
                    server.stop()
                raise
            started = (*started, "worker")
    return Local(url, started, (server.log, worker.log))


def down(say: Say = print) -> tuple[str, ...]:
    """Stop what `up` started, the worker first; return the names of what was running."""
    state = home()
    if not state.is_dir():
        return ()
    stopped: list[str] = []
    with _locked(state):
        for name in ("worker", "server"):
            if Background(state, name).stop():
                say(f"stopped the {name}")
                stopped.append(name)
    return tuple(stopped)


@contextmanager
def attached(url: str) -> Iterator[None]:
    """Turn the loss of the server during this block into an error that says so.

    Raises:
        EngineError: The block failed and the server no longer answers.
    """
    try:
        yield
    except KoopcastError:
        raise
    except Exception as error:
        fault = probe(url, seconds=5.0)
        if fault is None:
            raise
        raise EngineError(
            f"the Prefect server at {url} was lost during the run: it {fault}",
            "finished steps are in the store; start the server and run again, or use --engine inline",
        ) from error


def leave(code: int) -> NoReturn:
    """End this process now: a normal exit waits, for minutes, for Prefect to send events to a lost server."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _configured() -> tuple[str | None, str]:
    """Return the API URL that the environment or Prefect's active profile names, and where it stands."""
    if os.environ.get("PREFECT_API_URL"):
        return os.environ["PREFECT_API_URL"], "PREFECT_API_URL"
    file = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser() / "profiles.toml"
    try:
        profiles = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        return None, ""
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
    settings = profiles.get("profiles", {}).get(active, {})
    return settings.get("PREFECT_API_URL"), f"PREFECT_API_URL of the profile {active!r} in {file}"


def _authorization() -> dict[str, str]:
    """Return the header that a protected API asks for."""
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    return {}


def _ensure_server(server: Background, port: int, seconds: float, say: Say) -> tuple[str, tuple[str, ...]]:
    """Return the URL of a healthy local server, and `("server",)` if it had to be started."""
    url = loopback_url(port)
    if server.process() is not None:
        recorded = str(server.facts().get("url"))
        if wait_until(lambda: probe(recorded) is None, lambda: server.process() is not None, seconds):
            return recorded, ()
        server.stop()
    fault = probe(url)
    if fault is None:
        say(f"a Prefect server runs already at {url}; using it")
        return url, ()
    if _is_taken(port):
        raise EngineError(
            f"port {port} belongs to another program, which {fault}", "stop it or choose another --port"
        )
    say(f"starting a Prefect server at {url.removesuffix('/api')} (log: {server.log}); at most {seconds:g} s")
    before = server.log.stat().st_size if server.log.exists() else 0
    server.start(server_command(url), server_environment(SERVER, server.home / "prefect"), url=url)
    if not wait_until(lambda: probe(url) is None, lambda: server.process() is not None, seconds):
        is_running = server.stop()
        raise start_failure("Prefect server", is_running, seconds, server.log, before)
    return url, ("server",)


def _start_worker(worker: Background, url: str, limit: int, seconds: float) -> None:
    """Start a process worker (which makes its pool) and wait until the server lists it."""
    name = f"{POOL}-{platform.node() or 'local'}-{os.getpid()}"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    own = {"PREFECT_HOME": str(worker.home / "prefect"), "PREFECT_API_URL": url}
    environment = WORKER | inherited("PREFECT_PROFILE") | own
    before = worker.log.stat().st_size if worker.log.exists() else 0
    worker.start([*command, "--name", name, "--limit", str(limit)], environment, url=url)
    if not wait_until(lambda: _is_listed(url, name), lambda: worker.process() is not None, seconds):
        is_running = worker.stop()
        raise start_failure("worker", is_running, seconds, worker.log, before)


def _is_listed(url: str, worker: str) -> bool:
    """Return whether the server knows the worker as online."""
    request = Request(
        f"{url}/work_pools/{POOL}/workers/filter",
        data=b'{"workers": {"status": {"any_": ["ONLINE"]}}}',
        headers={"Content-Type": "application/json", **_authorization()},
    )
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=5.0) as answer:
            return any(row.get("name") == worker for row in json.load(answer))
    except (OSError, ValueError):
        return False


def server_command(url: str) -> list[str]:
    """Return the command that serves the API at a loopback URL."""
    port = str(urlsplit(url).port)
    return [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]


def server_environment(settings: dict[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of a server whose state lies in `folder`, unless a database is configured."""
    return settings | inherited("PREFECT_API_URL", "PREFECT_PROFILE") | {"PREFECT_HOME": str(folder)}


def start_failure(what: str, is_running: bool, seconds: float, log: Path, since: int) -> EngineError:
    """Return the error for a process that did not come up: what it wrote after byte `since` of its log."""
    happened = f"was not ready within {seconds:g} s" if is_running else "ended while it started"
    return EngineError(
        f"the {what} {happened}; the end of {log}:\n{tail(log, since=since)}\n", "see the log, then try again"
    )


@contextmanager
def _locked(state: Path, seconds: float = 300.0) -> Iterator[None]:
    """Let one `up` or `down` work at a time."""
    with (state / "lock").open("w") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EngineError(
                        f"another `koopcast up` or `down` works in {state}", "wait for it"
                    ) from None
                time.sleep(0.2)
        yield


def writable(state: Path) -> Path:
    """Make the directory of server state, and be sure that it can be written to."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state):
            return state
    except OSError as error:
        raise EngineError(
            f"cannot write to {state} ({error.strerror})", "set KOOPCAST_HOME to another directory"
        ) from None


def loopback_url(port: int) -> str:
    """Return the URL of an API on this machine."""
    return f"http://127.0.0.1:{port}/api"


def _is_taken(port: int) -> bool:
    with socket.socket() as probe_socket:
        probe_socket.settimeout(1.0)
        return probe_socket.connect_ex(("127.0.0.1", port)) == 0
