"""Tables of departures: what the observations said of background and analysis, by type and flag."""

import math
from collections.abc import Iterator, Mapping

from koopcast.report.content import CyclePart
from koopcast.report.style import readable, sentence
from koopcast.report.tables import Cell, Head, ScoreRow, ScoreTable, number

COLUMNS = {
    "count": Head("number"),
    "ob_mean": Head("mean O-B"),
    "ob_rms": Head("rms O-B"),
    "oa_rms": Head("rms O-A"),
    "chi_square": Head("χ²", "1 is consistent"),
    "error": Head("σ of the error", "estimated / stated"),
    "background": Head("σ of the background", "estimated / stated"),
}
"""Column -> its head; the last two compare departures with what was stated."""
NOTE = "O observation, B background, A analysis; in the units of the observations"


def departure_tables(chains: Mapping[str, CyclePart]) -> Iterator[ScoreTable]:
    """Yield a table of each chain of analyses that was observed."""
    for name, part in chains.items():
        rows = part.departures
        if rows is not None and len(rows) and "chi_square" in rows:
            shown = [_row(row) for row in rows.to_dict("records") if row["flag"] != "used"]
            title = f"Departures of {readable(name)}"
            yield ScoreTable(sentence(title), NOTE, "type, flag", list(COLUMNS.values()), shown, [])


def _row(row: Mapping[object, object]) -> ScoreRow:
    cells = [str(int(float(str(row["count"])))), *(_text(row[name]) for name in list(COLUMNS)[1:5])]
    for kind in ("error", "background"):
        found, stated = (_sigma(row[f"{prefix}{kind}_variance"]) for prefix in ("", "stated_"))
        cells.append("\u2013" if found is None or stated is None else f"{found} / {stated}")
    flag = "all that was used" if row["flag"] == "all_used" else readable(str(row["flag"]))
    return ScoreRow(f"{readable(str(row['type']))}, {flag}", "departures", [Cell(text) for text in cells])


def _text(value: object) -> str:
    found = float(str(value))
    return "\u2013" if math.isnan(found) else number(found)


def _sigma(variance: object) -> str | None:
    """Return the standard deviation; none where the estimate of the variance is negative or missing."""
    value = float(str(variance))
    return number(value**0.5) if value > 0 else None
