"""Databases of a Prefect server: SQLite in the server's process, a PostgreSQL that may be killed."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil

from flows.processes import wait_until

USER = "postgres"
BINARIES = "/usr/lib/postgresql/*/bin"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def kill_tree(process: psutil.Process) -> bool:
    """Kill -9 a process and all that it started; return whether it was alive."""
    try:
        family = [process, *process.children(recursive=True)]
        was_alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            was_alive = was_alive and member is not process
    psutil.wait_procs(family, timeout=10)
    return was_alive


class Sqlite:
    """A file that the server itself writes: killing the database is killing the server.

    Args:
        folder: Of the file.
    """

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite+aiosqlite:///{folder / 'prefect.db'}"
        self.secret = ""

    def start(self) -> None:
        """Nothing runs."""

    def stop(self) -> None:
        """Nothing runs."""


class Postgres:
    """A cluster in a temporary folder, on a free port of this machine, owned by a user that is not root.

    `why_not` says why there can be none here.
    """

    name = "postgresql"

    def __init__(self) -> None:
        self._port, self._password = free_port(), secrets.token_hex(12)
        self.secret = self._password
        self.url = f"postgresql+asyncpg://{USER}:{self._password}@127.0.0.1:{self._port}/prefect"
        self._folder = Path(tempfile.mkdtemp(prefix="koopcast-postgres-"))
        self._postmaster: subprocess.Popen[bytes] | None = None

    @staticmethod
    def why_not() -> str | None:
        """Return why there can be no cluster on this machine; None where there can."""
        if not binary("initdb"):
            return f"PostgreSQL is not installed (no initdb on PATH or in {BINARIES})"
        if os.geteuid() == 0 and subprocess.run(["id", USER], capture_output=True, check=False).returncode:
            return f"PostgreSQL refuses root, and there is no user '{USER}'"
        return None

    def start(self) -> None:
        """Make the cluster the first time; start the postmaster; wait until it answers."""
        is_new = not (self._folder / "data").exists()
        if is_new:
            self._make()
        log = (self._folder / "log").open("ab")
        command = [
            binary("postgres"),
            "-D",
            str(self._folder / "data"),
            "-p",
            str(self._port),
            "-h",
            "127.0.0.1",
        ]
        self._postmaster = subprocess.Popen(
            [*command, "-k", str(self._folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", **_as_user(),
        )  # fmt: skip
        log.close()
        postmaster = self._postmaster
        ready = [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        if not wait_until(
            lambda: subprocess.run(ready, check=False).returncode == 0, lambda: postmaster.poll() is None, 60
        ):
            raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2000:]}")
        if is_new:
            self._sql("postgres", "CREATE DATABASE prefect")
            self._sql("prefect", "CREATE EXTENSION pg_trgm")

    def kill(self) -> bool:
        """Kill -9 the postmaster and all its processes; return whether it was alive."""
        assert self._postmaster is not None
        was_alive = (
            kill_tree(psutil.Process(self._postmaster.pid)) if self._postmaster.poll() is None else False
        )
        self._postmaster.wait(10)
        return was_alive

    def stop(self) -> None:
        """Stop it and remove the cluster."""
        if self._postmaster is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._folder, USER, USER)
        word = self._folder / "password"
        word.write_text(self._password)
        options = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={word}", "-E", "UTF8", "--locale=C"]
        subprocess.run(
            [binary("initdb"), "-D", str(self._folder / "data"), *options],
            check=True, capture_output=True, cwd="/", **_as_user(),
        )  # fmt: skip
        word.unlink()

    def _sql(self, database: str, text: str) -> None:
        address = ["-h", "127.0.0.1", "-p", str(self._port), "-U", USER, "-d", database]
        subprocess.run(
            [binary("psql"), "-q", *address, "-c", text],
            env={**os.environ, "PGPASSWORD": self._password}, check=True, cwd="/",
        )  # fmt: skip


def binary(name: str) -> str:
    """Return the newest program of PostgreSQL with this name; empty where there is none."""
    found = sorted(Path("/").glob(f"{BINARIES.lstrip('/')}/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else "")


def _as_user() -> dict[str, Any]:
    """Return how a program is started that refuses root."""
    return {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}


def make(name: str, folder: Path) -> Sqlite | Postgres:
    """Return the database with a name."""
    return Sqlite(folder) if name == Sqlite.name else Postgres()
