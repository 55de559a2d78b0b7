"""Decodes BUFR messages in a process of its own: the library below dies of some damaged ones.

`python -m koopcast.cycles.bufr FILE TABLE SKIPPED STOP ELEMENT...` writes the table and prints the number of
each message before it is decoded, then what was lost, as JSON.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from koopcast.errors import DataError

MOST_DEATHS = 20
"""Messages that may kill the library before a file is refused."""
SECONDS = 600.0
"""For one file."""


def read_apart(path: Path, elements: Sequence[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the elements of the messages in a file, a row a report, and the records that were lost by class.

    A message that cannot be decoded, or that kills the library, counts as one malformed record; what follows
    the last one that can be found as a torn one.

    Raises:
        DataError: Nothing can be decoded, or too many messages kill the library.
    """
    deadly: list[int] = []
    stop = -1
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        while len(deadly) <= MOST_DEATHS:
            command = [
                sys.executable,
                "-m",
                __name__,
                str(path),
                str(table),
                json.dumps(deadly),
                str(stop),
                *elements,
            ]
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
                    check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise DataError(
                    f"'{path.name}' takes its reader more than {SECONDS:.0f} s", "split it"
                ) from error
            said = done.stdout.splitlines()
            if done.returncode == 0:
                lost = json.loads(said[-1])
                lost["malformed"] += len(set(deadly) - {stop})
                if not table.exists():
                    break
                return pd.read_parquet(table), {name: count for name, count in lost.items() if count}
            number = int(said[-1]) if said else 0
            if number in deadly:
                stop = number  # not what it holds is deadly, but to look for it
            deadly.append(number)
    raise DataError(f"'{path.name}' holds no BUFR message that can be decoded", "deliver it again")


def decode(
    path: Path, elements: Sequence[str], skipped: Sequence[int], stop: int
) -> tuple[list[pd.DataFrame], dict[str, int]]:
    """Return a table for each message that can be decoded, and how many records were lost, by class."""
    import pdbufr
    from pdbufr.high_level_bufr.bufr import BufrFile

    parts, lost, number = [], {"malformed": 0, "torn": 0}, 0
    with BufrFile(str(path)) as file:
        while True:
            print(number, flush=True)
            if number == stop:
                lost["torn"] += 1
                break
            try:
                message: Any = next(file, None)
            except Exception:
                lost["torn"] += 1
                break
            if message is None:
                break
            try:
                if number not in skipped:
                    parts.append(pdbufr.read_bufr([message], columns=elements, required_columns=False))
            except Exception:
                lost["malformed"] += 1
            number += 1
    return parts, lost


def main() -> None:
    """Decode the file that the command line names."""
    path, table, skipped, stop, *elements = sys.argv[1:]
    parts, lost = decode(Path(path), elements, json.loads(skipped), int(stop))
    if parts:
        pd.concat(parts, ignore_index=True).to_parquet(table, index=False)
    print(json.dumps(lost))


if __name__ == "__main__":
    main()
