"""Eigenfunctions along a trajectory, beside what their eigenvalues make of the first value."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from koopcast.report.clock import Clock, numbers
from koopcast.report.figures.modes import SHOWN, mode_title
from koopcast.report.style import INK, SERIES, Picture, draw, sentence

RECORDS = 200
"""That are drawn at most."""


def eigenfunction_series(values: xr.Dataset, clock: Clock, model: str, name: str) -> Picture | None:
    """Draw the first modes along the first sample; None where no state ends in it.

    Args:
        values: `eigenfunction` `(sample, time, mode)`, `eigenvalue` and `data_residual` `(mode)`.
        clock: What a step is called.
        model: Whose they are.
        name: Of the picture.
    """
    eigenvalue = values["eigenvalue"].values
    chosen = np.flatnonzero(eigenvalue.imag >= 0)[:SHOWN]
    series = values["eigenfunction"].isel(sample=0, mode=chosen, time=slice(RECORDS)).load()
    known = np.flatnonzero(np.isfinite(series.values).all(axis=1))
    if not len(known):
        return None
    time, label = numbers(series["time"])
    phi, steps = series.values, np.arange(len(time) - known[0])
    residual = values["data_residual"].values[chosen]
    titles = [
        f"{mode_title(value, clock)}; residual {float(left):.2g}"
        for value, left in zip(eigenvalue[chosen], residual, strict=True)
    ]

    def plot(figure: Figure) -> None:
        grid = figure.subplots(len(chosen), 1, squeeze=False, sharex=True)[:, 0]
        for place, axes in enumerate(grid):
            powers = phi[known[0], place] * eigenvalue[chosen[place]] ** steps
            axes.plot(time, phi[:, place].real, color=SERIES[0], linewidth=1.4, label="at the records")
            axes.plot(
                time[known[0] :], powers.real, color=INK, linewidth=0.8, linestyle="--",
                label="powers of the eigenvalue",
            )  # fmt: skip
            axes.set_title(titles[place])
        grid[0].legend(loc="upper right", ncols=2)
        grid[-1].set_xlabel(label)

    title = f"{sentence(model)}: eigenfunctions"
    caption = (
        "Real part of the first eigenfunctions along the first sample. Where the dashed line leaves the "
        "solid one, the eigenvalue does not describe the data; the residual measures that over one step."
    )
    drawn = draw(plot, height=1.15 * len(chosen) + 0.6)
    return Picture(name, title, caption, f"{title}: {'; '.join(titles)}", drawn)
