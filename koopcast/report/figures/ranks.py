"""Rank histograms."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from koopcast.report.style import INK, SERIES, Picture, draw, panel_title, readable

MOST_COLUMNS = 2
"""Panels side by side that stay legible in half a page."""


def rank_histograms(curve: xr.DataArray, name: str) -> Picture:
    """Draw how often the truth takes each rank, one panel a subject.

    Args:
        curve: Of one variable, dims `(subject, lead, rank)`, NaN where a subject has no ensemble.
        name: Of the picture.
    """
    known = curve.dropna("subject", how="all")
    subjects = sorted((str(subject) for subject in known["subject"].values), key=lambda text: text.count("."))

    columns = min(len(subjects), MOST_COLUMNS)
    rows = -(-len(subjects) // columns)

    def plot(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes in grid.ravel()[len(subjects) :]:
            axes.set_visible(False)
        for axes, subject in zip(grid.ravel(), subjects, strict=False):
            own = known.sel(subject=subject).dropna("lead", how="all").mean("lead").dropna("rank").values
            axes.bar(np.arange(own.size), own, width=0.86, color=SERIES[0], linewidth=0)
            axes.axhline(1 / own.size, color=INK, linewidth=1.0)
            axes.grid(False, axis="x")
            panel_title(axes, subject)
        for axes in grid[:, 0]:
            axes.set_ylabel("share of cases")
        figure.supxlabel("rank of the truth")

    title = f"Rank of the truth in the ensemble: {readable(str(curve['variable'].values))}"
    caption = (
        "Flat, at the line, is calibrated. A U says that the ensemble is too narrow, a dome too wide, a "
        "slope that it "
        "is biased."
    )
    return Picture(
        name,
        title,
        caption,
        f"{title}, histograms of {', '.join(subjects)}",
        draw(plot, height=max(3.1, 1.7 * rows)),
    )
