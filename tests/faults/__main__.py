"""Faults at random moments of a cycle on a real server: `python -m tests.faults --help`."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.faults.database import Postgres, make
from tests.faults.served import FAULTS, trial
from tests.faults.twin import RING, Row, truth_of
from tests.faults.world import World

COLUMNS = (
    "fault",
    "database",
    "repeats",
    "hits",
    "in a write",
    "windows",
    "lost",
    "duplicated",
    "torn",
    "identical",
    "s",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--fault", choices=list(FAULTS), action="append", help="default: all")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the table is also written")
    given = parser.parse_args()
    if given.database == Postgres.name and (why := Postgres.why_not()):
        print(f"not run: {why}")
        return 0
    with tempfile.TemporaryDirectory(prefix="koopcast-faults-", ignore_cleanup_errors=True) as folder:
        rows = _rows(Path(folder), given)
    table(rows)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if all(row.is_good for row in rows) else 1


def _rows(folder: Path, given: argparse.Namespace) -> list[Row]:
    world = World(folder, make(given.database, folder))
    store = folder / "store"
    try:
        (folder / "ring.yaml").write_text(RING)
        world.database.start()
        world.start_server()
        world.koopcast("run", str(folder / "ring.yaml"), "--engine", "inline", "--store", str(store))
        world.start_worker("one")
        truth = truth_of(store)
        kinds = given.fault or [kind for kind in FAULTS if (kind, given.database) != ("database", "sqlite")]
        return [trial(world, store, truth, kind, given.repeats, given.seed) for kind in kinds]
    finally:
        world.stop()


def table(rows: list[Row]) -> None:
    """Print the rows as Markdown."""
    print("|", " | ".join(COLUMNS), "|")
    print("|", " | ".join("---" for _ in COLUMNS), "|")
    for row in rows:
        cells = [row.kind, row.database, row.repeats, row.hits, row.in_write, row.windows, row.lost, row.duplicated, row.torn,
                 "yes" if row.is_identical else "NO", f"{row.seconds:.0f}"]  # fmt: skip
        print("|", " | ".join(map(str, cells)), "|", row.note)


if __name__ == "__main__":
    sys.exit(main())
