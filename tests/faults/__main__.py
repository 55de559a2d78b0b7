"""Faults at random moments of a cycle on a real server: `python -m tests.faults --help`."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

from tests.faults import local, served
from tests.faults.database import Postgres, make
from tests.faults.disk import Disk, why_no_disk
from tests.faults.twin import RING, Row, truth_of
from tests.faults.world import World

COUNTS = ("repeats", "hits", "in a write", "windows", "lost", "duplicated", "torn")
COLUMNS = ["fault", "database", *COUNTS, "identical", "seconds", "note"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--database",
        choices=["sqlite", "postgresql", "none"],
        default="sqlite",
        help="none: faults without a server",
    )
    kinds = sorted({*served.FAULTS, *local.FAULTS})
    parser.add_argument("--fault", choices=kinds, action="append", help="default: all of the database")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the table is also written")
    given = parser.parse_args()
    if given.database == Postgres.name and (why := Postgres.why_not()):
        print(f"not run: {why}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="koopcast-faults-", ignore_cleanup_errors=True) as folder:
        found = _local(Path(folder), given) if given.database == "none" else _served(Path(folder), given)
        rows = list(_written(found, given.json))
    print("\n".join(table(rows)))
    return 0 if all(row.is_good for row in rows) else 1


def _local(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    for kind in given.fault or local.FAULTS:
        if (why := local.WHY_NOT.get(kind, lambda: None)()) is not None:
            print(f"{kind} is left out: {why}")
            continue
        yield local.trial(folder, kind, given.repeats, given.seed)


def _served(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    world = World(folder, make(given.database, folder))
    store = folder / "store"
    try:
        (folder / "ring.yaml").write_text(RING)
        world.database.start()
        world.start_server()
        world.koopcast("run", str(folder / "ring.yaml"), "--engine", "inline", "--store", str(store))
        world.start_worker("one")
        truth = truth_of(store)
        for kind in given.fault or served.FAULTS:
            if (kind, given.database) == ("database", "sqlite"):
                print("database is left out: SQLite lives in the server's process, which `server` kills")
                continue
            if kind == "disk" and (why := why_no_disk()) is not None:
                print(f"{kind} is left out: {why}")
                continue
            with _small_disk(folder, store) if kind == "disk" else nullcontext(store) as place:
                yield served.trial(world, place, truth, kind, given.repeats, given.seed)
    finally:
        world.stop()


@contextmanager
def _small_disk(folder: Path, store: Path) -> Iterator[Path]:
    """Make a small disk with a copy of the model."""
    disk = Disk(folder / "disk")
    disk.mount()
    try:
        yield Path(shutil.copytree(store, disk.place / "store", ignore=shutil.ignore_patterns("cycles")))
    finally:
        disk.unmount()


def _written(rows: Iterator[Row], path: Path | None) -> Iterator[Row]:
    """Print and write each row as it comes: what was found so far outlives a harness that is stopped."""
    known: list[Row] = []
    for row in rows:
        known.append(row)
        print(table(known)[-1], flush=True)
        if path is not None:
            path.write_text(json.dumps([asdict(row) for row in known], indent=1))
        yield row


def table(rows: list[Row]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for row in rows:
        counts = (row.repeats, row.hits, row.in_write, row.windows, row.lost, row.duplicated, row.torn)
        told = ("yes" if row.is_identical else "NO", f"{row.seconds:.0f}", row.note.strip())
        lines.append([str(cell) for cell in (row.kind, row.database, *counts, *told)])
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    sys.exit(main())
