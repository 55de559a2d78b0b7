"""A process that reads one file after another for this one, since libraries may die of damaged files.

`python -m koopcast.cycles.apart` takes tasks as lines of JSON, and answers each with lines of JSON. It ends
with the process that started it, however that ends. One that died is followed by another at the next file.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from koopcast.errors import DataError

SECONDS = 600.0
"""For one file."""


class Died(Exception):
    """The process ended before it answered."""


class _Process:
    """The process, and what it said that was not yet heard."""

    def __init__(self) -> None:
        self._owner, self._said = os.getpid(), b""
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    @property
    def is_there(self) -> bool:
        """Whether it waits for a task of this process, not of the one that this was forked from."""
        return self._owner == os.getpid() and self._process.poll() is None

    def tell(self, task: dict[str, Any]) -> None:
        """Give it a task."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def hear(self, until: float) -> dict[str, Any]:
        """Return its next line.

        Raises:
            Died: It did, or has nothing to say by then.
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._said:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise Died(f"its reader takes more than {SECONDS:.0f} s")
            part = os.read(pipe, 65536)
            if not part:
                raise self._ended()
            self._said += part
        line, _, self._said = self._said.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """End it."""
        if self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ended(self) -> Died:
        code = self._process.wait()
        return Died(f"signal {-code}" if code < 0 else f"its reader ended with {code}")


class _Holder:
    """Starts the process when it is wanted, and ends it with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None
        atexit.register(self.close)

    def ask(self, task: dict[str, Any], heard: Callable[[int], None]) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        with self._lock:
            if self._process is None or not self._process.is_there:
                self.close()
                self._process = _Process()
            try:
                self._process.tell(task)
                while "at" in (said := self._process.hear(until)):
                    heard(said["at"])
            except BaseException:
                # What it still says would be taken for the answer to another task.
                self.close()
                raise
        return said

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


_HOLDER = _Holder()


def ask(path: Path, task: str, heard: Callable[[int], None] = lambda at: None, **given: Any) -> Any:
    """Return what a task makes of a file.

    Args:
        path: The file.
        task: `netcdf` or `bufr`.
        heard: Is told how far the task is.
        given: To the task; JSON.

    Raises:
        DataError: Of the task.
        Died: The task killed its process, or takes too long.
    """
    said = _HOLDER.ask({"task": task, "given": {"path": str(path.absolute()), **given}}, heard)
    if "fault" in said:
        raise DataError(*said["fault"])
    if "failed" in said:
        raise DataError(f"'{path.name}' is damaged ({said['failed']})", "deliver it again")
    return said["done"]


def main() -> None:
    """Answer one task after another; what a library prints goes nowhere."""
    from koopcast.cycles import bufr, netcdf

    tasks: dict[str, Callable[..., Any]] = {"netcdf": netcdf.read, "bufr": bufr.decode}
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)

        def say(**line: Any) -> None:
            print(json.dumps(line), file=answers, flush=True)

        for line in sys.stdin:
            task = json.loads(line)
            more = {"say": lambda at: say(at=at)} if task["task"] == "bufr" else {}
            try:
                done = tasks[task["task"]](**task["given"], **more)
            except DataError as error:
                say(fault=[error.message, error.remedy])
            except Exception as error:
                say(failed=f"{type(error).__name__}: {error}"[:200])
            else:
                say(done=done)


if __name__ == "__main__":
    main()
