"""Rank histograms."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from koopcast.report.style import INK, SERIES, Picture, draw, panel_title, readable


def rank_histograms(curve: xr.DataArray, name: str) -> Picture:
    """Draw how often the truth takes each rank, one panel a subject.

    Args:
        curve: Of one variable, dims `(subject, lead, rank)`, NaN where a subject has no ensemble.
        name: Of the picture.
    """
    known = curve.dropna("subject", how="all")
    subjects = sorted((str(subject) for subject in known["subject"].values), key=lambda text: text.count("."))

    def plot(figure: Figure) -> None:
        grid = figure.subplots(1, len(subjects), sharey=True, squeeze=False)[0]
        for axes, subject in zip(grid, subjects, strict=True):
            own = known.sel(subject=subject).dropna("lead", how="all").mean("lead").dropna("rank").values
            axes.bar(np.arange(own.size), own, width=0.86, color=SERIES[0], linewidth=0)
            axes.axhline(1 / own.size, color=INK, linewidth=1.0)
            axes.grid(False, axis="x")
            axes.set_xlabel("rank of the truth")
            panel_title(axes, subject)
        grid[0].set_ylabel("share of cases")

    title = f"Rank of the truth in the ensemble: {readable(str(curve['variable'].values))}"
    caption = (
        "Flat, at the line, is calibrated. A U says that the ensemble is too narrow, a dome too wide, a "
        "slope that it "
        "is biased."
    )
    return Picture(name, title, caption, f"{title}, histograms of {', '.join(subjects)}", draw(plot))
