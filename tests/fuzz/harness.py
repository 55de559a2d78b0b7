"""Runs a target on damaged inputs: in a bounded time and memory, and without a write outside of its folder.

`python -m tests.fuzz.harness TARGET COUNT [SEED]` runs one target alone and prints what it cost.
"""

import faulthandler
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from tests.fuzz.mutation import Mutate

SECONDS = 5
"""Of the processor, for one input."""
BYTES = 2 * 2**30
"""Of address space, beyond what is there before the first input."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
    "os.utime",
}
PROCESSES = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
}


SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where `main` works: in memory, since every input is written."""


@dataclass(frozen=True)
class Target:
    """What reads an input, from where its damage starts, and how it is damaged."""

    read: Callable[[bytes], None]
    """Takes the input; lets nothing out but what is a fault of ours."""
    corpus: Sequence[bytes]
    mutate: Mutate


class Hang(BaseException):
    """One input took too long. No reader that catches every exception catches it."""


class Trespass(BaseException):
    """An input made something write outside of its folder, start a process or call somebody."""


class _Watch:
    """What an audit hook (which cannot be removed) looks after, while there is a folder."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.is_installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in PROCESSES and not _is_reader(event, arguments):
            raise Trespass(f"{event}{arguments[:2]!r}")
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if is_write or event in PATHS:
            for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                if isinstance(path, (str, bytes)) and not self._is_inside(os.fsdecode(path)):
                    raise Trespass(f"{event}: {path!r}")

    def _is_inside(self, path: str) -> bool:
        is_cache = "__pycache__" in path or path == os.devnull
        return is_cache or Path(os.path.realpath(path)).is_relative_to(str(self.folder))


def _is_reader(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether the process is the one in which BUFR and netCDF files are read."""
    return event == "subprocess.Popen" and arguments[1][1:3] == ["-m", "koopcast.cycles.apart"]


WATCH = _Watch()


@contextmanager
def guarded(folder: Path, room: int = BYTES) -> Iterator[None]:
    """Bound the memory of this process, and let nothing but `folder` be written to."""
    if not WATCH.is_installed:
        sys.addaudithook(WATCH)
        WATCH.is_installed = True
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    former = resource.getrlimit(resource.RLIMIT_AS)
    here, former_handler = Path.cwd(), signal.signal(signal.SIGPROF, _stop)
    former_scratch, tempfile.tempdir = tempfile.tempdir, str(folder)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, former[1]))
    WATCH.folder = os.path.realpath(folder)
    faulthandler.dump_traceback_later(300, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        WATCH.folder = None
        resource.setrlimit(resource.RLIMIT_AS, former)
        os.chdir(here)
        tempfile.tempdir = former_scratch
        signal.signal(signal.SIGPROF, former_handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {SECONDS} s of computing")


def read(target: Target, content: bytes) -> None:
    """Give one input to a target, in a bounded time."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        target.read(content)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(target: Target, count: int, seed: int) -> list[tuple[bytes, str]]:
    """Return the inputs on which a target failed, one of each kind of failure, with what it raised."""
    random, failures = Random(seed), {}
    for content in target.corpus:
        read(target, content)
    for number in range(count):
        content = target.mutate(random, target.corpus)
        # If the process dies of it, the input is still there.
        Path("input").write_bytes(content)
        if number % 100 == 99:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.dump_traceback_later(300, exit=True)
        try:
            read(target, content)
        except (Exception, Hang, Trespass) as error:
            failures.setdefault(_kind(error), content)
    return [(content, kind) for kind, content in failures.items()]


def _kind(error: BaseException) -> str:
    trace, places = error.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} {' < '.join(reversed(places[-4:]))}"


def main(name: str, count: str, seed: str = "0") -> int:
    """Run one target alone; keep the inputs on which it failed in `koopcast-fuzz/` among temporary files."""
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    warnings.simplefilter("ignore")
    place = Path(tempfile.gettempdir()) / "koopcast-fuzz"
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        begin = time.process_time()
        with guarded(Path(folder)):
            failures = fuzz(target, int(count), int(seed))
        took = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:12} {int(count):7} inputs {took:7.1f} s  peak {peak:5.0f} MB  {len(failures)} failures")
    for number, (content, kind) in enumerate(failures):
        place.mkdir(exist_ok=True)
        (place / f"{name}-{number}").write_bytes(content)
        print(f"  {name}-{number}  {kind}  {content[:120]!r}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
