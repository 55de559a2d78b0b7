"""A metric of a study against size."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from koopcast.report.style import Picture, draw, readable, sentence, subject_style, with_units

WIDE_RANGE = 20.0
"""Ratio of largest to smallest value above which the axis is logarithmic."""


def value_against_size(rows: pd.DataFrame, step: str, name: str) -> Picture:
    """Draw one metric against n, a line for each subject.

    Args:
        rows: Columns `metric` (one), `subject`, `n`, `value`, `units`.
        step: Name of the study's step.
        name: Of the picture.
    """
    metric, units = str(rows["metric"].iloc[0]), str(rows["units"].iloc[0])
    subjects = [str(subject) for subject in rows["subject"].unique()]
    finite = rows["value"].where(np.isfinite(rows["value"]))
    spans_decades = bool(finite.min() > 0 and finite.max() > WIDE_RANGE * finite.min())

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for subject in subjects:
            own = rows[rows["subject"] == subject].sort_values("n")
            value = own["value"].where(np.isfinite(own["value"]))
            axes.plot(
                own["n"].to_numpy(float),
                value,
                marker="o",
                label=readable(subject),
                **subject_style(subject, subjects, ()),
            )
        axes.set_xscale("log")
        axes.set_xticks(sorted(rows["n"].unique()))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        if spans_decades:
            axes.set_yscale("log")
        axes.set_xlabel("n")
        axes.set_ylabel(with_units(readable(metric), units))
        axes.legend(loc="best")

    title = f"{readable(step)}: {readable(metric)} against n"
    spoken = "; ".join(
        f"{subject} {', '.join(f'{row.value:.3g} at {row.n}' for row in own.itertuples())}"
        for subject, own in rows.groupby("subject", sort=False)
    )
    caption = (
        "One line for each subject; both axes are logarithmic."
        if spans_decades
        else ("One line for each subject.")
    )
    return Picture(name, sentence(title), caption, f"{title}: {spoken}", draw(plot))
