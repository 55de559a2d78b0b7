"""How a command ends that is interrupted, or whose reader has gone."""

import json
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from koopcast.redaction import redacted

INVALID, INTERRUPTED, NO_READER = 2, 130, 141
"""Exit codes; the last two are those of a process that SIGINT and SIGPIPE end."""


class Terminal(Console):
    """A console whose reader may go."""

    def on_broken_pipe(self) -> None:
        """End the process."""
        _leave()


class Commands(TyperGroup):
    """The commands; of Typer an interruption is silent, and a pipe that was closed is a failure."""

    def invoke(self, ctx: Any) -> Any:
        """Run one."""
        try:
            return _flushed(super().invoke, ctx)
        except KeyboardInterrupt:
            fail("interrupted; nothing is lost, the same command resumes", INTERRUPTED)
        except BrokenPipeError:
            _leave()


def _leave() -> NoReturn:
    """End the process; what is left in the buffer goes nowhere when Python closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(NO_READER)


def _flushed(invoke: Any, ctx: Any) -> Any:
    try:
        return invoke(ctx)
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def tolerant() -> None:
    """Let what an encoding does not know be written out, rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def fail(text: str, code: int) -> NoReturn:
    """Tell why a command failed, and end the process."""
    tell(text, "invalid" if code == INVALID else "failed")
    sys.exit(code)


def tell(text: str, state: str) -> None:
    """Tell why a command failed: on standard error, with `--json` on standard output as well."""
    text = redacted(text)
    with suppress(OSError):  # that nothing can be written may be what is told
        if "--json" in sys.argv:
            typer.echo(json.dumps({"state": state, "error": text}))
    typer.echo(text, err=True)
