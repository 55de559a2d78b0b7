"""Tables and figures of studies: subjects down, metrics or sizes across; nothing is called the best."""

from collections.abc import Iterator

import pandas as pd

from koopcast.report import figures
from koopcast.report.style import Picture, readable, sentence, with_units
from koopcast.report.tables import Cell, Head, ScoreRow, ScoreTable, number


def study_tables(step: str, table: pd.DataFrame) -> Iterator[ScoreTable]:
    """Yield a table of what has one score or one size, then one for each metric that has several sizes.

    Args:
        step: Name of the step.
        table: Columns `metric`, `subject`, `n` (missing where there is one score alone), `value`, `units`.
    """
    sizes = table["n"].dropna().unique()
    single = table[table["n"].isna()] if len(sizes) > 1 else table
    if len(single):
        units = dict(zip(single["metric"], single["units"], strict=True))
        columns = {metric: with_units(readable(metric), units[metric]) for metric in units}
        title = f"{readable(step)}, n = {sizes[0]}" if len(sizes) == 1 else readable(step)
        yield _table(title, "subject", single, "metric", columns)
    for metric, rows in table[table["n"].notna()].groupby("metric", sort=False) if len(sizes) > 1 else ():
        title = f"{readable(step)}: {with_units(readable(str(metric)), str(rows['units'].iloc[0]))}"
        yield _table(title, "n", rows, "n", {size: str(size) for size in sorted(rows["n"].unique())})


def study_pictures(step: str, table: pd.DataFrame) -> Iterator[Picture]:
    """Yield a picture of each metric that compares several subjects at several sizes."""
    for metric, rows in table[table["n"].notna()].groupby("metric", sort=False):
        if rows["n"].nunique() > 1 and rows["subject"].nunique() > 1:
            yield figures.value_against_size(rows, step, f"{step}-{metric}")


def _table(
    title: str, corner: str, rows: pd.DataFrame, across: str, columns: dict[object, str]
) -> ScoreTable:
    values = {(row["subject"], row[across]): row["value"] for row in rows.to_dict("records")}
    body = [
        ScoreRow(
            subject,
            "study",
            [Cell(number(values[subject, key]) if (subject, key) in values else "–") for key in columns],
        )
        for subject in rows["subject"].unique()
    ]
    return ScoreTable(sentence(title), "", corner, [Head(label) for label in columns.values()], body, [])
