"""Error against lead."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from koopcast.report.clock import Clock
from koopcast.report.style import (
    INK,
    Picture,
    draw,
    metric_title,
    readable,
    sentence,
    subject_style,
    with_units,
)

SENSES = {
    "lower": "Lower is better.",
    "higher": "Higher is better.",
    "target": "Nearest to the line is best.",
}


def error_against_lead(rows: pd.DataFrame, clock: Clock, name: str) -> Picture:
    """Draw one metric of one variable against lead, models and baselines.

    Args:
        rows: Rows of the score table: one metric, one variable, with a lead, at least one subject.
        clock: What a step is called.
        name: Of the picture.
    """
    metric, variable = str(rows["metric"].iloc[0]), str(rows["variable"].iloc[0])
    units, sense = str(rows["units"].iloc[0]), str(rows["sense"].iloc[0])
    models = list(rows.loc[rows["role"] != "baseline", "subject"].unique())
    baselines = list(rows.loc[rows["role"] == "baseline", "subject"].unique())

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for subject in [*baselines, *models]:
            own = rows[rows["subject"] == subject].sort_values("lead")
            lead = own["lead"].to_numpy(float) * clock.factor
            value = own["value"].where(np.isfinite(own["value"]))
            marker = "" if subject in baselines else "o"
            axes.plot(
                lead,
                value,
                marker=marker,
                label=subject,
                **subject_style(subject, models, baselines),
            )
        if sense == "target":
            axes.axhline(float(rows["perfect"].iloc[0]), color=INK, linewidth=0.8)
        elif sense == "lower":
            axes.set_ylim(bottom=0.0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=clock.factor == 1))
        axes.set_xlabel(clock.axis_label("lead"))
        axes.set_ylabel(with_units(metric_title(metric), units))
        axes.margins(x=0.04)
        axes.legend(loc="best")

    title = f"{metric_title(metric)} of {readable(variable)} against lead"
    cases = rows.loc[rows["role"] != "baseline", "cases"]
    caption = (
        f"Models are solid, baselines dashed, all verified on the same {_span(cases)} fields a lead. "
        f"{SENSES[sense]} "
        "A model earns its keep where it lies on the better side of every dashed line."
    )
    return Picture(name, sentence(title), caption, f"{title}: {_spoken(rows, clock)}", draw(plot))


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _spoken(rows: pd.DataFrame, clock: Clock) -> str:
    """Return the values as a sentence, for readers who do not see the figure."""
    parts = []
    for subject, own in rows.groupby("subject", sort=False):
        values = ", ".join(
            f"{value:.3g} at {clock.text(lead)}"
            for lead, value in zip(own["lead"].astype(int), own["value"], strict=True)
        )
        parts.append(f"{subject} {values}")
    return "; ".join(parts)
