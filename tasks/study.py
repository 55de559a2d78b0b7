"""Carry out a study."""

from collections.abc import Iterator, Mapping

import pandas as pd

from koopcast.stores.files import write_table
from koopcast.studies.base import ALL, Findings
from schemas.expect import column
from schemas.stages import StudyStep
from tasks.workspace import Workspace

FINDINGS, TABLES = "findings.parquet", "tables"


def study(step: StudyStep, workspace: Workspace) -> None:
    """Write the table of scores, and the tables behind it."""
    findings = step.study.run(workspace.job.seed)
    write_table(workspace.path / FINDINGS, to_table(findings, step.study.metrics()))
    (workspace.path / TABLES).mkdir()
    for name, table in findings.tables.items():
        write_table(workspace.path / TABLES / f"{name}.parquet", table)


def to_table(findings: Findings, units: Mapping[str, str]) -> pd.DataFrame:
    """Return scores as rows: metric, subject, n (missing where there is one score alone), value, units."""
    table = pd.DataFrame(
        [(*row, units[row[0]]) for row in _rows(findings)],
        columns=["metric", "subject", "n", "value", "units"],
    )
    return table.astype({"n": "Int64", "value": "float64"})


def _rows(findings: Findings) -> Iterator[tuple[str, str, int | None, float]]:
    for metric, subjects in findings.scores.items():
        for subject, sizes in subjects.items():
            for size, value in sizes.items():
                yield metric, subject, None if size == ALL else int(size), value


def score_mapping(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return `{metric: {subject: {"n=40" or "all": value}}}` of the rows of `to_table`."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for metric, subject, size, value in table[["metric", "subject", "n", "value"]].itertuples(index=False):
        place = column("n", None if pd.isna(size) else int(size))
        scores.setdefault(metric, {}).setdefault(subject, {})[place] = float(value)
    return scores
