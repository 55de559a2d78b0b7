"""How a cycle stands: fit to the reports window by window, their fate, and the last analysis."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from koopcast.report.figures.fields import Scale, error_scale, field_scale, spread_scale
from koopcast.report.style import (
    FIELD_MAP,
    INK,
    LABELS,
    LAND,
    MUTED,
    RULE,
    SERIES,
    Picture,
    draw,
    readable,
    sentence,
    with_units,
)

Dash: TypeAlias = str | tuple[int, tuple[float | int, ...]]
MOST = 400
"""Points of a curve: of more windows, means over several are drawn."""


def monitor_series(table: pd.DataFrame, units: str) -> Picture:
    """Draw the fit to the reports and the spread, window by window.

    Args:
        table: A row a window: `label` (time), `ob_rms`, `oa_rms`, `background_spread`.
        units: Of the reports.
    """
    lines: list[tuple[str, str, str, Dash]] = [
        ("ob_rms", "reports less background", SERIES[1], "-"),
        ("oa_rms", "reports less analysis", SERIES[0], "-"),
        ("background_spread", "spread of the background", MUTED, (0, (2, 1.5))),
    ]
    caption = (
        "Reports should lie nearer to the analysis than to its background, and the spread of the background "
        "should stay below its distance from the reports, which have errors of their own."
    )
    mean = table[["ob_rms", "oa_rms"]].mean()
    alt = f"Reports less background {mean['ob_rms']:.3g} and less analysis {mean['oa_rms']:.3g} on average"
    svg, per = _series(table, lines, with_units("root-mean-square", units))
    return Picture("monitors", "Fit to the reports, window by window", caption + per, alt, svg)


def bias_series(table: pd.DataFrame, units: str) -> Picture:
    """Draw mean departures of the reports, window by window.

    Args:
        table: A row a window: `label` (time), `ob_mean`, `oa_mean`.
        units: Of the reports.
    """
    lines = [
        ("ob_mean", "reports less background", SERIES[1], "-"),
        ("oa_mean", "reports less analysis", SERIES[0], "-"),
    ]
    caption = "What stays on one side of 0 is a bias: of the model, or of the instruments."
    mean = table[["ob_mean", "oa_mean"]].mean()
    alt = f"Mean departures {mean['ob_mean']:.3g} and {mean['oa_mean']:.3g}"
    svg, per = _series(table, lines, with_units("mean", units), level=0.0)
    return Picture("bias", "Bias of the reports, window by window", caption + per, alt, svg)


def chi_square_series(table: pd.DataFrame) -> Picture:
    """Draw χ² per report, window by window.

    Args:
        table: A row a window: `label` (time), `chi_square_per_observation`.
    """
    lines = [("chi_square_per_observation", "χ² per report", SERIES[0], "-")]
    mean = table["chi_square_per_observation"].mean()
    caption = (
        f"The mean is {mean:.3g}. Above 1 reports lie farther from the background than spread and errors "
        "say, so one of them is too small; below 1 one is too large."
    )
    svg, per = _series(table, lines, "χ² per report", level=1.0)
    return Picture("chi-square", "Consistency, window by window", caption + per, caption, svg)


def _series(
    table: pd.DataFrame,
    lines: Sequence[tuple[str, str, str, Dash]],
    label: str,
    level: float | None = None,
) -> tuple[str, str]:
    """Return a drawing of columns against time, and what to add to its caption.

    Args:
        table: A row a window, with `label`.
        lines: Column, its label, its colour and dash.
        label: Of the vertical axis.
        level: Of a line that is ideal; without one the axis begins at 0.
    """
    shown, windows = condensed(table)

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        if level is not None:
            axes.axhline(level, color=INK, linewidth=0.8)
        marker = "o" if len(shown) < 3 else ""
        for column, text, colour, dash in lines:
            axes.plot(
                shown["label"], shown[column], color=colour, linestyle=dash, label=text, linewidth=1.5,
                marker=marker, markersize=3,
            )  # fmt: skip
        if level is None:
            axes.set_ylim(bottom=0.0)
        _dates(axes, shown["label"])
        axes.set_ylabel(label)
        if len(lines) > 1:
            figure.legend(loc="outside upper left", ncols=2)

    return draw(plot, height=3.4), _per(windows)


def condensed(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return means over so many windows that few enough points are left, and how many windows those are."""
    windows = -(-len(table) // MOST)
    if windows <= 1:
        return table, 1
    group = np.arange(len(table)) // windows
    numbers = table.drop(columns=["label", "source"], errors="ignore").astype(float)
    return numbers.groupby(group).mean().assign(label=table.groupby(group)["label"].first()), windows


def _per(windows: int) -> str:
    return f" Each point is a mean over {windows} windows." if windows > 1 else ""


def report_counts(table: pd.DataFrame, reasons: list[str]) -> Picture:
    """Draw what became of the reports of each window.

    Args:
        table: A row a window: `label` (time), `used`, and a column a reason.
        reasons: Columns of those that were rejected.
    """
    counted = table[["label", "used", *reasons]].fillna(0)
    shown, windows = condensed(counted)

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        below = np.zeros(len(shown))
        for place, column in enumerate(["used", *reasons]):
            values = shown[column].to_numpy(dtype=np.float64)
            axes.fill_between(
                shown["label"], below, below + values, step="mid", color=SERIES[place % len(SERIES)],
                alpha=0.85, linewidth=0, label=readable(column), hatch="//" if place >= len(SERIES) else None,
            )  # fmt: skip
            below = below + values
        axes.set_ylim(bottom=0.0)
        _dates(axes, shown["label"])
        axes.set_ylabel("reports")
        figure.legend(loc="outside upper left", ncols=3)

    total = int(counted[["used", *reasons]].to_numpy().sum())
    caption = "Every report of a window is in exactly one class; a hole is a window without reports."
    alt = f"{total} reports in {len(counted)} windows, {int(counted['used'].sum())} of them used"
    title = "What became of the reports"
    return Picture("reports", title, caption + _per(windows), alt, draw(plot, height=3.4))


def window_fields(fields: xr.Dataset, variable: str, label: str) -> Picture:
    """Draw analysis, increment and spread of one variable at the last window.

    Args:
        fields: Of the window: the variable, `<variable>_background` and `<variable>_spread`, dims `(*space)`.
        variable: Which.
        label: Of the window.
    """
    analysis = fields[variable]
    increment = (analysis - fields[f"{variable}_background"]).rename("increment")
    spread = fields[f"{variable}_spread"]
    panels = [
        ("analysis", analysis, field_scale([analysis])),
        ("increment (analysis less background)", increment, error_scale([increment])),
        ("spread of the analysis", spread, spread_scale(spread)),
    ]
    title = f"{sentence(readable(variable))}, window {label}"
    caption = "The last window: what is believed, what the reports changed, and how sure the ensemble is."
    alt = f"Analysis, increment and spread of {variable} in window {label}"
    return Picture(f"fields-{variable}", title, caption, alt, _panels(panels), "wide")


def increment_fields(increments: xr.Dataset, variable: str, windows: int) -> Picture:
    """Draw mean and root-mean-square of the increments of one variable.

    Args:
        increments: `<variable>_mean` and `<variable>_rms`, dims `(*space)`.
        variable: Which.
        windows: How many they are of.
    """
    mean, size = increments[f"{variable}_mean"], increments[f"{variable}_rms"]
    panels = [("mean", mean, error_scale([mean])), ("root-mean-square", size, spread_scale(size))]
    caption = (
        "Analysis less background. Where the mean is not small beside the root-mean-square, reports pull the "
        "same way window after window: there the model has a bias, or an instrument has."
    )
    title = f"Increments of {readable(variable)}, {windows} windows"
    alt = f"Mean and root-mean-square increments of {variable}"
    return Picture(f"increments-{variable}", title, caption, alt, _panels(panels), "wide")


def _panels(panels: list[tuple[str, xr.DataArray, Scale]]) -> str:
    """Return a drawing of fields of one variable below one another, lines where space has one axis."""
    _, first, _ = panels[0]
    units = str(first.attrs.get("units", "1"))
    is_line = first.ndim == 1

    def plot(figure: Figure) -> None:
        grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (title, values, scale) in zip(grid, panels, strict=True):
            axes.set_title(title)
            if is_line:
                axes.plot(_coordinate(values, 0), values.values, color=SERIES[0], linewidth=1.5)
                axes.axhline(0, color=RULE, linewidth=0.7)
                axes.set_ylabel(with_units("", units))
            else:
                _map(figure, axes, values, scale, units)
        last = str(first.dims[-1])
        grid[-1].set_xlabel(LABELS.get(last, last))

    count = len(panels)
    one = 2.1 if is_line else 0.5 + min(max(9.0 * first.shape[-2] / first.shape[-1], 0.5), 3.7)
    return draw(plot, width="wide", height=0.2 + one * count)


def _map(figure: Figure, axes: Axes, values: xr.DataArray, scale: Scale, units: str) -> None:
    axes.set_facecolor(LAND)
    axes.grid(False)
    mesh = axes.pcolormesh(
        _coordinate(values, -1), _coordinate(values, -2), np.ma.masked_invalid(values.values),
        cmap=scale.colours or FIELD_MAP, vmin=scale.low, vmax=scale.high, shading="nearest", rasterized=True,
    )  # fmt: skip
    bar = figure.colorbar(mesh, ax=axes, label=with_units("", units), pad=0.012, fraction=0.03)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=3, prune="both"))


def _coordinate(values: xr.DataArray, axis: int) -> np.ndarray:
    dim = str(values.dims[axis])
    return np.asarray(values[dim].values if dim in values.coords else np.arange(values.sizes[dim]))


def _dates(axes: Axes, labels: pd.Series) -> None:
    if labels.nunique() < 2:
        axes.set_xticks(labels.unique(), [f"{label:%Y-%m-%d %H:%M}" for label in labels.unique()])
        return
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
