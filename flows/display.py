"""What a person sees of a run: live bars on a terminal, plain lines in a pipe, nothing beside `--json`."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from flows.endings import Terminal
from koopcast.progress import Listener
from koopcast.progress import Progress as Report


class Display(Protocol):
    """Where a run tells how it stands."""

    def say(self, line: str) -> None:
        """Show one line for good."""

    def start(self, step: str, what: str) -> None:
        """A step begins to run."""

    def listener(self, step: str) -> Listener:
        """Return who hears the progress reports of a step."""

    def finish(self, step: str, state: str, detail: str) -> None:
        """A step has ended as `done`, `cached`, `failed`, `lost` or `skipped`."""

    def live(self) -> AbstractContextManager[object]:
        """Return the context in which the run takes place."""


class Silent:
    """Shows nothing."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def start(self, step: str, what: str) -> None:
        """Drop the news."""

    def listener(self, step: str) -> Listener:
        """Return a listener that hears nothing."""
        return lambda report: None

    def finish(self, step: str, state: str, detail: str) -> None:
        """Drop the news."""

    def live(self) -> AbstractContextManager[object]:
        """Return an empty context."""
        return nullcontext()


class Lines:
    """Plain lines for a pipe or a log: when a step begins, each `interval` seconds, and when it ends."""

    def __init__(self, console: Console, interval: float = 15.0) -> None:
        self.console = console
        self.interval = interval
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Print the line as it is."""
        with self._lock:
            self.console.print(Text(line), soft_wrap=True)

    def start(self, step: str, what: str) -> None:
        """Print that the step begins."""
        self._since[step] = self._last[step] = time.monotonic()
        self.say(f"{step:<16} running   {what}")

    def listener(self, step: str) -> Listener:
        """Return a listener that prints at intervals."""

        def hear(report: Report) -> None:
            if report.note:
                self.say(f"{step:<16} note      {report.note}")
                return
            now = time.monotonic()
            if now - self._last.get(step, now) < self.interval:
                return
            self._last[step] = now
            self.say(f"{step:<16} running   {describe(report, now - self._since[step])}")

        return hear

    def finish(self, step: str, state: str, detail: str) -> None:
        """Print how the step ended."""
        self.say(f"{step:<16} {state:<9} {detail}")

    def live(self) -> AbstractContextManager[object]:
        """Return an empty context."""
        return nullcontext()


MARKS = {
    "done": ("✓", "green"),
    "cached": ("=", "cyan"),
    "failed": ("✗", "red"),
    "lost": ("✗", "yellow"),
    "skipped": ("-", "yellow"),
}


class Bars:
    """Live bars on a terminal: step, progress, remaining time and the figures of the method."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[step]:<16}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._since: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self.console.print(Text(line), soft_wrap=True)

    def start(self, step: str, what: str) -> None:
        """Add a bar."""
        self._since[step] = time.monotonic()
        self._tasks[step] = self._progress.add_task(step, total=None, step=step, note=what)

    def listener(self, step: str) -> Listener:
        """Return a listener that moves the bar."""

        def hear(report: Report) -> None:
            if report.note:
                self.say(f"{step}: {report.note}")
            elif step in self._tasks:
                note = describe(report, time.monotonic() - self._since[step])
                self._progress.update(self._tasks[step], completed=report.done, total=report.total, note=note)

        return hear

    def finish(self, step: str, state: str, detail: str) -> None:
        """Replace the bar by one line."""
        if step in self._tasks:
            self._progress.remove_task(self._tasks.pop(step))
        mark, colour = MARKS[state]
        self.console.print(
            Text.assemble((f"{mark} ", colour), f"{step:<16} ", (f"{state:<8}", colour), detail)
        )

    @contextmanager
    def live(self) -> Iterator[object]:
        """Show the bars while the run takes place."""
        with self._progress:
            yield self


def describe(report: Report, elapsed: float) -> str:
    """Return a progress report in words: place, figures, remaining time by the mean pace so far."""
    figures = "".join(f"  {name} {value:.4g}" for name, value in report.figures.items())
    left = ""
    if 0 < report.done < report.total:
        left = f"  {duration(elapsed * (report.total - report.done) / report.done)} left"
    return f"{report.unit} {report.done}/{report.total}{figures}{left}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(num_bytes: float) -> str:
    """Return bytes as people say them: `512 B`, `3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def choose(*, quiet: bool) -> Display:
    """Return the display that suits where standard error goes; results go to standard output."""
    if quiet:
        return Silent()
    console = Terminal(file=sys.stderr, highlight=False)
    return Bars(console) if console.is_terminal else Lines(console)
