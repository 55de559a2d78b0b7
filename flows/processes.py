"""Background processes of our own: started with a log file, known by pid and start time, always stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LAUNCHER = str(Path(__file__).with_name("launch.py"))
LOG_LIMIT = 5_000_000
"""A log that has grown above so many bytes starts anew."""

ESCALATION = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""Signals to stop a process, each with the seconds it is given."""


def open_log(path: Path) -> int:
    """Open a log for appending and return its descriptor; several processes may write to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_full = path.exists() and path.stat().st_size > LOG_LIMIT
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | (os.O_TRUNC if is_full else 0), 0o600)


def tail(path: Path, lines: int = 15, since: int = 0) -> str:
    """Return the last lines of a log, of what was written after byte `since`."""
    if not path.exists():
        return "(the log is empty)"
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(since if since <= end else 0, end - 100_000))
        text = file.read().decode(errors="replace").strip()
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


@dataclass(frozen=True)
class Background:
    """A process that outlives its starter: `<name>.json` says which it is, `<name>.log` what it wrote."""

    home: Path
    name: str

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.home / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """Where its pid and start time stand."""
        return self.home / f"{self.name}.json"

    def facts(self) -> dict[str, object]:
        """Return what was recorded at the start: pid, start time and the caller's own entries."""
        try:
            facts = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def process(self) -> psutil.Process | None:
        """Return the running process; None when it ended, even if another has its pid now."""
        facts = self.facts()
        pid, started = facts.get("pid"), facts.get("started")
        if not isinstance(pid, int) or not isinstance(started, int | float):
            return None
        try:
            process = psutil.Process(pid)
            is_ours = abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if is_ours else None

    def start(self, command: Sequence[str], environment: Mapping[str, str], **facts: str) -> None:
        """Start the command in a session of its own, with its output in the log."""
        log = open_log(self.log)
        try:
            child = subprocess.Popen(
                [sys.executable, LAUNCHER, "run", *command],
                env=dict(environment),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        _reaped_elsewhere(child)
        started = psutil.Process(child.pid).create_time()
        draft = self.record.with_suffix(".tmp")
        draft.write_text(json.dumps({"pid": child.pid, "started": started, **facts}))
        draft.replace(self.record)

    def stop(self, escalation: Sequence[tuple[signal.Signals, float]] = ESCALATION) -> bool:
        """Stop the process and whatever it started; True if it was running."""
        process = self.process()
        if process is not None:
            family = [process, *_children(process)]
            for number, seconds in escalation:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
                if _gone([process], seconds):
                    break
            _kill([*family, *_children(process)])
        self.record.unlink(missing_ok=True)
        return process is not None


@dataclass
class Guarded:
    """A process that lives no longer than this one, however this one ends."""

    guard: subprocess.Popen[bytes]

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], log: Path) -> "Guarded":
        """Start the command under a guard that stops it when our end of a pipe closes."""
        descriptor = open_log(log)
        try:
            guard = subprocess.Popen(
                [sys.executable, LAUNCHER, "guard", *command],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # a Ctrl-C on the terminal is for us; the guard hears of our end
            )
        finally:
            os.close(descriptor)
        return cls(guard)

    def is_running(self) -> bool:
        """Return whether it still runs."""
        return self.guard.poll() is None

    def stop(self) -> None:
        """Stop it: gently, then by force."""
        if self.guard.stdin is not None:
            with suppress(OSError):
                self.guard.stdin.close()
        try:
            self.guard.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.guard.pid, signal.SIGKILL)
            self.guard.wait(10)


def wait_until(is_ready: Callable[[], bool], is_alive: Callable[[], bool], seconds: float) -> bool:
    """Wait for `is_ready`, at most so long and only while `is_alive`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and is_alive():
        if is_ready():
            return True
        time.sleep(0.1)
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _gone(processes: list[psutil.Process], seconds: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def _kill(processes: list[psutil.Process]) -> None:
    _gone(processes, 0.5)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _gone(processes, 5.0)


def _reaped_elsewhere(child: subprocess.Popen[bytes]) -> None:
    """Tell subprocess that nobody waits for this child: it is found again by its record."""
    child.returncode = 0
