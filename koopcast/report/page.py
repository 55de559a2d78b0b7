"""The page: one file that opens from disk, asks for nothing, and follows light and dark."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from koopcast import __version__
from koopcast.redaction import redacted
from koopcast.report.clock import Clock
from koopcast.report.content import CyclePage, EvaluationPart, KeyFigure, ReportContent, StepRow
from koopcast.report.departures import departure_tables
from koopcast.report.gallery import Gallery, gallery
from koopcast.report.graph import draw_graph
from koopcast.report.studies import study_tables
from koopcast.report.style import raised, with_units
from koopcast.report.sweeps import sweep_tables
from koopcast.report.tables import (
    TIE,
    ScoreTable,
    analysis_tables,
    forecast_tables,
    map_tables,
    number,
    on_whole_grid,
)

PAGE, FIGURES = "report.html", "figures"
COLOURS = {"well": "good", "look": "warn", "behind": "warn", "damaged": "bad"}
"""State of a cycle -> class of the style sheet."""


def render(content: ReportContent, pictures: Gallery | None = None) -> str:
    """Return the page of a run as HTML.

    Args:
        content: What is known of the run.
        pictures: Its figures, where they are drawn already.
    """
    drawn = pictures if pictures is not None else gallery(content)
    graph = content.graph_svg or (draw_graph(content.steps) if content.steps else "")
    return redacted(
        _environment()
        .get_template("page.html.j2")
        .render(
            content=content,
            graph=Markup(graph),
            gallery=drawn,
            inline={picture.name: Markup(picture.inline()) for picture in drawn.all()},
            key_figures=key_figures(content),
            forecast_tables=_tables(content, lambda part: forecast_tables(part.table, Clock.of(part.time))),
            analysis_tables=[
                *_tables(content, lambda part: analysis_tables(part.table)),
                *departure_tables(content.chains),
            ],
            map_tables=_tables(content, lambda part: map_tables(part.table)),
            study_tables=[
                table for name, rows in content.studies.items() for table in study_tables(name, rows)
            ],
            sweep_tables={name: list(sweep_tables(name, part)) for name, part in content.sweeps.items()},
            state=_state(content),
            held=sum(row.holds for row in content.expectations),
            longest=max((step.seconds or 0.0 for step in content.steps), default=0.0),
            tie=f"{100 * TIE:.0f}\u00a0%",
            version=__version__,
        )
    )


def render_cycle(content: CyclePage) -> str:
    """Return a page about a cycle, as HTML."""
    pictures = [picture for section in content.sections for picture in section.pictures]
    return redacted(
        _environment()
        .get_template("cycle.html.j2")
        .render(
            content=content,
            inline={picture.name: Markup(picture.inline()) for picture in pictures},
            colour=COLOURS[content.state],
            version=__version__,
        )
    )


def write(content: ReportContent, directory: Path) -> Path:
    """Write the page and its figures below a directory; return the path of the page."""
    drawn = gallery(content)
    (directory / FIGURES).mkdir(parents=True, exist_ok=True)
    for picture in drawn.all():
        picture.save(directory / FIGURES)
    page = directory / PAGE
    page.write_text(render(content, drawn), encoding="utf-8")
    return page


def key_figures(content: ReportContent) -> list[KeyFigure]:
    """Return the error of each model at its first and last lead, and of each analysis, beside the best
    baseline.
    """
    return [figure for part in content.evaluations.values() for figure in _key_figures(part)]


def seconds(value: float | int | None) -> str:
    """Return a duration in words."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _state(content: ReportContent) -> str:
    held = all(row.holds for row in content.expectations)
    return content.state if held or content.state != "completed" else "expectations not held"


def _key_figures(part: EvaluationPart) -> list[KeyFigure]:
    clock, table = Clock.of(part.time), on_whole_grid(part.table[part.table["metric"] == "rmse"])
    if table.empty or table["variable"].nunique() > 1:
        table = table[table["variable"] == table["variable"].iloc[0]] if len(table) else table
    result = []
    for role, lead in _headlines(table):
        rows = table[table["pairs"] == "analysis" if lead is None else table["lead"] == lead]
        rivals = rows[rows["role"] == "baseline"].sort_values("value")
        for row in rows[rows["role"] == role].to_dict("records"):
            when = "" if lead is None else f", {clock.text(lead)}"
            value = f"{number(row['value'])} {'' if row['units'] == '1' else raised(row['units'])}".strip()
            result.append(KeyFigure(f"{row['subject']}: RMSE{when}", value, _against(row["value"], rivals)))
    return result


def _headlines(table: pd.DataFrame) -> list[tuple[str, int | None]]:
    leads = sorted(int(lead) for lead in table["lead"].dropna().unique())
    return [*(("forecast", lead) for lead in dict.fromkeys([*leads[:1], *leads[-1:]])), ("analysis", None)]


def _against(value: float, rivals: pd.DataFrame) -> str:
    """Return how a value stands against the best baseline."""
    if rivals.empty or not value < float("inf"):
        return ""
    best = rivals.iloc[0]
    change = value / float(best["value"]) - 1
    name = f"{best['subject']} ({number(float(best['value']))})"
    if abs(change) <= TIE:
        return f"a tie with {name}"
    return f"{abs(change):.0%} {'below' if change < 0 else 'above'} {name}"


def _tables(content: ReportContent, of: Callable[[EvaluationPart], list[ScoreTable]]) -> list[ScoreTable]:
    return [table for part in content.evaluations.values() for table in of(part)]


def _share(step: StepRow, longest: float) -> str:
    """Return the length of a step's bar."""
    return f"{100 * (step.seconds or 0.0) / longest:.1f}" if longest > 0 else "0"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("koopcast.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": seconds, "number": number, "share": _share, "with_units": with_units}
    return environment
