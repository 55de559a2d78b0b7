"""Start a command with sane signals, alone (`run`) or for as long as the starter lives (`guard`).

A process started with `&` from a script ignores SIGINT, and hands that down: here it gets its default back.
A guard reads its standard input and stops the command when that ends, as it does however the starter died.
Runs as a file, without the packages around it, so that it starts in milliseconds.
"""

import os
import select
import signal
import subprocess
import sys

PATIENCE = 3.0
"""Seconds from SIGTERM to SIGKILL for a guarded command; its state is thrown away anyway."""


def run(command: list[str]) -> None:
    """Become the command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(command[0], command)


def guard(command: list[str]) -> int:
    """Run the command until it ends or standard input does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        while process.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.2)
            if readable and not os.read(sys.stdin.fileno(), 1):
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                break
    return process.returncode


if __name__ == "__main__":
    if sys.argv[1] == "guard":
        sys.exit(guard(sys.argv[2:]))
    run(sys.argv[2:])
