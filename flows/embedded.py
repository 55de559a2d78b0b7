"""A Prefect server for the length of one run: `koopcast run --engine prefect` where no server is at hand."""

import importlib.metadata
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from flows.environment import STARTUP_SECONDS, TEMPORARY_SERVER
from flows.processes import Guarded, wait_until
from flows.server import (
    home,
    loopback_url,
    probe,
    server_command,
    server_environment,
    start_failure,
    writable,
)


@contextmanager
def embedded(start_seconds: float = STARTUP_SECONDS) -> Iterator[str]:
    """Run a server for the length of this block, on a free loopback port and with a database of its own.

    `PREFECT_API_URL` points to it meanwhile. It writes to `<home>/embedded.log` and ends with this process,
    whatever ends that.

    Raises:
        EngineError: It did not start in time; the message holds the end of its log.
    """
    state = writable(home())
    log = state / "embedded.log"
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="koopcast-server-", ignore_cleanup_errors=True)
            )
        )
        is_fresh = not _copy_database(state, folder)
        url, before = loopback_url(_free_port()), log.stat().st_size if log.exists() else 0
        environment = server_environment(TEMPORARY_SERVER, folder)
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{folder / 'prefect.db'}"
        server = Guarded.start(server_command(url), environment, log)
        stack.callback(server.stop)
        if not wait_until(lambda: probe(url, 1.0) is None, server.is_running, start_seconds):
            raise start_failure("temporary Prefect server", server.is_running(), start_seconds, log, before)
        if is_fresh:
            _keep_database(state, folder)
        stack.enter_context(_pointed_to(url))
        stack.callback(_deliver)
        yield url


def _deliver(seconds: float = 5.0) -> None:
    """Let Prefect send the events and log lines it still holds, while there is a server to take them."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        EventsWorker.drain_all(timeout=seconds)
        APILogWorker.drain_all(timeout=seconds)


@contextmanager
def _pointed_to(url: str) -> Iterator[None]:
    """Make `url` the server of this process, also if prefect has been imported already."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    try:
        if "prefect" in sys.modules:
            from prefect.settings import PREFECT_API_URL, temporary_settings

            with temporary_settings({PREFECT_API_URL: url}):
                yield
        else:
            yield
    finally:
        if before is None:
            os.environ.pop("PREFECT_API_URL", None)
        else:
            os.environ["PREFECT_API_URL"] = before


def _template(state: Path) -> Path:
    """Return where a migrated, empty database of this Prefect version is kept."""
    return state / f"prefect-{importlib.metadata.version('prefect')}.db"


def _copy_database(state: Path, folder: Path) -> bool:
    """Give a temporary server a database that needs no migration, if one was kept."""
    with suppress(OSError):
        shutil.copyfile(_template(state), folder / "prefect.db")
        return True
    return False


def _keep_database(state: Path, folder: Path) -> None:
    """Keep a copy of a new database: making its tables is most of a first start."""
    draft = state / f".tmp-{os.getpid()}.db"
    try:
        with (
            closing(sqlite3.connect(folder / "prefect.db")) as source,
            closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)
        draft.replace(_template(state))
    except (OSError, sqlite3.Error):
        draft.unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])
