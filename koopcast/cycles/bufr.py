"""Decodes BUFR messages, in a process apart: the library below dies of some damaged ones."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from koopcast.cycles.apart import Died, ask
from koopcast.errors import DataError

MOST_DEATHS = 20
"""Messages that may kill the library before a file is refused."""
MISSING, LAST_STATION = 2**31 - 1, 99999
"""What stands for a missing whole number in compressed messages; largest number of a WMO station."""


def read_apart(path: Path, elements: Sequence[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the elements of the messages in a file, a row a report, and the records that were lost by class.

    A message that cannot be decoded, or that kills the library, counts as one malformed record; what follows
    the last one that can be found as a torn one.

    Raises:
        DataError: Nothing can be decoded, or too many messages kill the library.
    """
    deadly: list[int] = []
    stop, at = -1, [0]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        while len(deadly) <= MOST_DEATHS:
            at = [0]
            given = {"table": str(table), "elements": list(elements), "skipped": deadly, "stop": stop}
            try:
                lost = ask(path, "bufr", at.append, **given)
            except Died:
                number = at[-1]
                if number in deadly:
                    stop = number  # not what it holds is deadly, but to look for it
                deadly.append(number)
                continue
            lost["malformed"] += len(set(deadly) - {stop})
            if not table.exists():
                break
            return pd.read_parquet(table), {name: count for name, count in lost.items() if count}
    raise DataError(f"'{path.name}' holds no BUFR message that can be decoded", "deliver it again")


def decode(
    path: str,
    table: str,
    elements: Sequence[str],
    skipped: Sequence[int],
    stop: int,
    say: Callable[[int], None],
) -> dict[str, int]:
    """Write a row for each report that can be decoded, and return how many records were lost, by class.

    Args:
        path: The file.
        table: Where the rows go; not made without any.
        elements: Names of what is wanted.
        skipped: Numbers of messages that are not decoded.
        stop: Number of the first message that is not looked for; -1: none.
        say: Is told the number of each message before it is looked for.
    """
    import pdbufr
    from pdbufr.high_level_bufr.bufr import BufrFile

    parts, lost, number = [], {"malformed": 0, "torn": 0}, 0
    with BufrFile(path) as file:
        while True:
            say(number)
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
                    found = pdbufr.read_bufr([message], columns=elements, required_columns=False)
                    parts.append(_without_missing(found))
            except Exception:
                lost["malformed"] += 1
            number += 1
    if parts:
        pd.concat(parts, ignore_index=True).to_parquet(table, index=False)
    return lost


def _without_missing(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of elements without the numbers that stand for missing ones, or are made of them."""
    table = table.mask(table == MISSING)
    if "WMO_station_id" in table:
        number = pd.to_numeric(table["WMO_station_id"], errors="coerce")
        table["WMO_station_id"] = table["WMO_station_id"].where(number <= LAST_STATION)
    return table
