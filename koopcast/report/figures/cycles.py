"""Error and spread of an analysis, cycle by cycle."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from koopcast.report.style import INK, MUTED, SERIES, Picture, draw, sentence, with_units

LINES = {
    "background_rmse": ("error of the background", SERIES[1], "-"),
    "rmse": ("error of the analysis", SERIES[0], "-"),
    "spread": ("spread of the analysis", SERIES[0], (0, (2, 1.5))),
}
"""Column -> its label, colour and dash."""
DASHES = ((0, (4, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1, 2)), (0, (2, 4)))
FAR = 5.0
"""References above so many times the largest value of the chain are told and not drawn."""
LONG = 400
"""Cycles above which a running mean is drawn."""


def cycle_series(
    cycles: pd.DataFrame, references: Mapping[str, float | int], units: str, subject: str, name: str
) -> Picture:
    """Draw error and spread against the cycle, mean over experiments.

    Args:
        cycles: Columns `time` and `rmse`; `spread`, `background_rmse` and `sample` where known.
        references: Levels to compare with, such as the error of the climatology or of a free run.
        units: Of the errors.
        subject: Whose they are.
        name: Of the picture.
    """
    columns = [column for column in LINES if column in cycles]
    mean = cycles.groupby("time", sort=True)[columns].mean()
    smooth = max(1, len(mean) // (LONG // 2)) if len(mean) > LONG else 1
    shown = mean.rolling(smooth, min_periods=1, center=True).mean()
    limit = FAR * float(np.nanmax(shown.to_numpy()))
    near = {label: level for label, level in references.items() if level <= limit}
    far = {label: level for label, level in references.items() if level > limit}

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (label, level) in enumerate(near.items()):
            axes.axhline(
                level,
                color=MUTED,
                linewidth=1.2,
                linestyle=DASHES[place % len(DASHES)],
                label=label,
            )
        for column in columns:
            label, colour, dash = LINES[column]
            axes.plot(
                range(1, len(shown) + 1),
                shown[column],
                color=colour,
                linestyle=dash,
                label=label,
                linewidth=1.5,
            )
        axes.set_ylim(bottom=0.0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.set_xlabel("cycle")
        axes.set_ylabel(with_units("root-mean-square", units))
        figure.legend(loc="outside upper left", ncols=2)
        axes.tick_params(colors=MUTED)
        axes.spines["bottom"].set_color(INK)

    title = f"{sentence(subject)}: error and spread, cycle by cycle"
    running = f" Running mean over {smooth} cycles." if smooth > 1 else ""
    beyond = ", ".join(f"{label} {level:.3g}" for label, level in far.items())
    running += f" Above the picture: {beyond}." if beyond else ""
    caption = (
        "The analysis should stay below its background and well below the dashed levels; spread near the "
        "error means "
        f"that the ensemble knows how wrong it is.{running}"
    )
    means = ", ".join(f"{LINES[column][0]} {mean[column].mean():.3g}" for column in columns)
    return Picture(name, title, caption, f"{title}; means: {means} {units}", draw(plot, height=3.4))
