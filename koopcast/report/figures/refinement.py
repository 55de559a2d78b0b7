"""Residual and error against iteration."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from koopcast.report.style import SERIES, Picture, draw, readable, sentence

DRAWN = {"error": "error", "residual_dual": "residual, order -1", "residual_l2": "residual, order 0"}


def refinement_curve(history: pd.DataFrame, method: str, name: str) -> Picture:
    """Draw what a refinement lowers: the median over the cases, relative to the start, and all cases faintly.

    Args:
        history: Columns `case`, `iteration`, `residual_dual`, `residual_l2`; `error` where truth is known.
        method: Which method it was.
        name: Of the picture.
    """
    known = [column for column in DRAWN if column in history and bool(history[column].notna().any())]
    by_case = {column: history.pivot(index="iteration", columns="case", values=column) for column in known}
    # A case that has ended keeps its last value.
    relative = {column: (table / table.iloc[0]).ffill() for column, table in by_case.items()}

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for column, color in zip(known, SERIES, strict=False):
            table = relative[column]
            axes.semilogy(table.index, table, color=color, alpha=0.2, linewidth=0.8)
            axes.semilogy(table.index, table.median(axis=1), color=color, label=DRAWN[column])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.set_xlabel("iteration")
        axes.set_ylabel("relative to the prediction")
        axes.legend(loc="upper right")

    title = f"{sentence(readable(method))}: refinement"
    caption = (
        "Thick: the median over the cases; thin: each case. The error needs the truth, which a refinement "
        "does not see."
    )
    ends = ", ".join(f"{DRAWN[column]} {relative[column].iloc[-1].median():.3g}" for column in known)
    spoken = f"{title}: after {history['iteration'].max()} iterations the medians are {ends} of the start"
    return Picture(name, title, caption, spoken, draw(plot))
