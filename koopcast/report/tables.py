"""Score tables as a reader wants them: subjects down, leads or metrics across, ties called ties."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from koopcast.report.clock import Clock
from koopcast.report.style import SUPERSCRIPTS, metric_title, raised, readable, sentence, with_units

TIE = 0.05
"""Relative difference to the best below which two values are called a tie."""
IN = " in "
"""Before the name of a sector, in the column `pairs`."""
SENSES = {
    "lower": "lower is better",
    "higher": "higher is better",
    "target": "nearest to {perfect:g} is best",
}


@dataclass(frozen=True)
class Column:
    """One thing that subjects are compared in."""

    label: str
    spoken: str
    values: Mapping[str, float]
    units: str
    sense: str
    perfect: float
    spreads: Mapping[str, float] = field(default_factory=dict)
    """Standard deviation over the trainings of a subject, where there are several."""

    def distance(self, subject: str) -> float:
        """Return how far a subject is from perfect, in the sense of the metric: smaller is better."""
        value = self.values[subject]
        if self.sense == "target":
            return abs(value - self.perfect)
        return value if self.sense == "lower" else -value

    def best(self) -> str | None:
        """Return the best subject; none where nothing is finite."""
        known = [subject for subject, value in self.values.items() if math.isfinite(value)]
        return min(known, key=self.distance) if known else None

    def ties(self) -> list[str]:
        """Return the subjects that are not told apart from the best: within 5 % of its value."""
        best = self.best()
        if best is None:
            return []
        reach = TIE * abs(self.perfect if self.sense == "target" else self.values[best])
        near = [subject for subject in self.values if self.distance(subject) - self.distance(best) <= reach]
        return [subject for subject in near if subject != best and math.isfinite(self.values[subject])]


@dataclass(frozen=True)
class Cell:
    """A value in a table."""

    text: str
    is_best: bool = False
    is_tie: bool = False


@dataclass(frozen=True)
class Head:
    """What a column holds, and which way is better where the title of the table does not say."""

    label: str
    note: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """One subject."""

    subject: str
    role: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class ScoreTable:
    """Subjects compared in a few columns; remarks say where nobody wins."""

    title: str
    note: str
    corner: str
    """Head of the column of subjects."""
    columns: Sequence[Head]
    rows: Sequence[ScoreRow]
    remarks: Sequence[str]


def forecast_tables(table: pd.DataFrame, clock: Clock) -> list[ScoreTable]:
    """Return one table for each metric and variable of the forecasts: leads across; and one for what is
    read off the models: metrics across.
    """
    tables = []
    rows = without_components(table[table["lead"].notna()])
    for _, own in rows.groupby(["pairs", "metric", "variable"], sort=False):
        columns = [
            _column(at_lead, f"{clock.factor * lead:.3g}", clock.text(int(lead)))
            for lead, at_lead in own.groupby(own["lead"].astype(int))
        ]
        first = own.iloc[0]
        units, sense = str(first["units"]), SENSES[str(first["sense"])].format(perfect=first["perfect"])
        title = with_units(
            f"{metric_title(str(first['metric']))} of {readable(str(first['variable']))}", units
        )
        title += f",{sector_of(first['pairs'])}" if sector_of(first["pairs"]) else ""
        tables.append(_table(sentence(title), sense, clock.axis_label("lead"), columns, own, "at {label}"))
    models = table[table["pairs"] == "model"]
    if tables and len(models):
        tables.append(_table("Models", "", "subject", _metrics(models), models, "in {label}"))
    return tables


def analysis_tables(table: pd.DataFrame) -> list[ScoreTable]:
    """Return one table for each variable of the analyses: metrics across."""
    found = [pairs for pairs in table["pairs"].unique() if str(pairs).partition(IN)[0] == "analysis"]
    titles = {pairs: f"At the analysis times{sector_of(pairs)}" for pairs in found}
    return [made for pairs, title in titles.items() for made in _tables(table, pairs, title)]


def map_tables(table: pd.DataFrame) -> list[ScoreTable]:
    """Return one table for each output of the maps: metrics across, means over their trainings."""
    return _tables(table, "map", "Maps of fields")


def _tables(table: pd.DataFrame, pairs: str, title: str) -> list[ScoreTable]:
    tables = []
    whole = without_components(table[table["pairs"] == pairs])
    models = table[(table["pairs"] == "model") & (table["role"] == pairs)]
    for variable, own in whole.groupby("variable", sort=False):
        heading, rows = f"{title}: {readable(str(variable))}", pd.concat([own, models])
        tables.append(_table(heading, "", "subject", _metrics(rows), rows, "in {label}"))
    return tables


def _metrics(table: pd.DataFrame) -> list[Column]:
    """Return a column for each metric."""
    return [
        _column(rows, metric_title(str(metric)), metric_title(str(metric)))
        for metric, rows in table.groupby("metric", sort=False)
    ]


def sector_of(pairs: object) -> str:
    """Return in which sector rows were scored, ` in <sector>`; empty for the whole grid."""
    return "".join(str(pairs).partition(IN)[1:])


def on_whole_grid(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that were not scored in a sector."""
    return table[~table["pairs"].astype(str).str.contains(IN)]


def without_components(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without rows that are parts of another metric, `rank_histogram.slope` and the like."""
    names = set(table["metric"])
    head = table["metric"].map(lambda name: str(name).rpartition(".")[0])
    tail = table["metric"].map(lambda name: str(name).rpartition(".")[2])
    is_part = tail.isin(["slope", "curvature", "half_width"]) | head.isin(["chi_square", "desroziers"])
    return table[~(head.isin(names) & is_part)]


def number(value: float | int) -> str:
    """Return a value with three figures."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "diverged"
    if 1e5 <= abs(value) < 1e9 and value == round(value):
        return f"{value:.0f}".replace("-", "−")
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−")


def _column(rows: pd.DataFrame, label: str, spoken: str) -> Column:
    first = rows.iloc[0]
    values = dict(zip(rows["subject"].astype(str), rows["value"].astype(float), strict=True))
    spreads = {}
    if "std" in rows:
        known = rows[rows["std"] > 0]
        spreads = dict(zip(known["subject"].astype(str), known["std"].astype(float), strict=True))
    return Column(
        label, spoken, values, str(first["units"]), str(first["sense"]), float(first["perfect"]), spreads
    )


def _table(
    title: str, note: str, corner: str, columns: list[Column], rows: pd.DataFrame, where: str
) -> ScoreTable:
    roles = dict(zip(rows["subject"].astype(str), rows["role"].astype(str), strict=True))
    order = sorted(roles, key=lambda subject: roles[subject] == "baseline")
    body = [
        ScoreRow(subject, roles[subject], [_cell(column, subject) for column in columns]) for subject in order
    ]
    remarks = [remark for column in columns if (remark := _remark(column, where))]
    heads = [
        Head(column.label) if note else Head(with_units(column.label, column.units), _sense(column))
        for column in columns
    ]
    return ScoreTable(title, note, corner, heads, body, remarks)


def _sense(column: Column) -> str:
    return SENSES[column.sense].format(perfect=column.perfect)


def _cell(column: Column, subject: str) -> Cell:
    if subject not in column.values:
        return Cell("–")
    ties = column.ties()
    is_alone = len(column.values) == 1
    is_best = subject == column.best() and not is_alone
    text = number(column.values[subject])
    if subject in column.spreads:
        text += f" ± {number(column.spreads[subject])}"
    return Cell(text, is_best and not ties, bool(ties) and (is_best or subject in ties))


def _remark(column: Column, where: str) -> str:
    """Return the sentence on a tie for the first place; empty where there is none."""
    best, ties = column.best(), column.ties()
    if best is None or not ties:
        return ""
    units = "" if column.units == "1" else f" {raised(column.units)}"
    named = [f"{subject} ({number(column.values[subject])}{units})" for subject in [best, *ties]]
    names = f"{', '.join(named[:-1])} and {named[-1]}"
    return f"A tie {where.format(label=column.spoken)}: {names} differ by less than {100 * TIE:.0f}\u00a0%."
