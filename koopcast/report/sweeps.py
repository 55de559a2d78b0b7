"""Tables of sweeps: the optimum of each subject, and every point."""

import math
from collections.abc import Iterator
from typing import Any

from koopcast.report.content import SweepPart
from koopcast.report.style import readable, sentence
from koopcast.report.tables import Cell, Head, ScoreRow, ScoreTable, number

MOST_ROWS = 500
"""Points that a page lists."""
BEHIND = ("score", "mean", "half_width", "seeds", "lost", "subject", "per")


def sweep_tables(step: str, part: SweepPart) -> Iterator[ScoreTable]:
    """Yield the table of optima, then that of the points."""
    axes = [name for name in part.optima.columns if name not in BEHIND]
    rows = [
        ScoreRow(_subject(row), "study", [*(Cell(_text(row[axis])) for axis in axes), *_found(row)])
        for row in part.optima.to_dict("records")
    ]
    heads = [*axes, "score", "mean over seeds", "seeds", "lost"]
    note = "optimum over the axes; mean over seeds ± half width of its 95 % interval"
    yield ScoreTable(sentence(f"{readable(step)}: best"), note, "subject", _heads(heads), rows, [])
    yield _points(step, part)


def _points(step: str, part: SweepPart) -> ScoreTable:
    table = part.points.head(MOST_ROWS)
    columns = [name for name in table.columns if name not in ("key", "message")]
    rows = [
        ScoreRow(
            str(row["key"]), "study", [Cell(_state(row) if c == "state" else _text(row[c])) for c in columns]
        )
        for row in table.to_dict("records")
    ]
    left = len(part.points) - len(table)
    remarks = [f"{left} more points are in the table of the step."] if left else []
    return ScoreTable(sentence(f"{readable(step)}: points"), "", "point", _heads(columns), rows, remarks)


def _heads(names: list[str]) -> list[Head]:
    return [Head(name) for name in names]


def _subject(row: dict[Any, Any]) -> str:
    is_whole = row["per"] is None or row["per"] != row["per"] or str(row["per"]) == "<NA>"
    return str(row["subject"]) if is_whole else f"{row['subject']}, n={row['per']}"


def _found(row: dict[Any, Any]) -> list[Cell]:
    width = float(row["half_width"])
    interval = f" ± {number(width)}" if math.isfinite(width) else ""
    return [
        Cell(str(row["score"])),
        Cell(f"{number(float(row['mean']))}{interval}"),
        Cell(str(row["seeds"])),
        Cell(str(row["lost"])),
    ]


def _state(row: dict[Any, Any]) -> str:
    return f"{row['state']}: {row['message']}" if row["message"] else str(row["state"])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return number(value) if math.isfinite(value) else "–"
    return "–" if value is None else str(value)
