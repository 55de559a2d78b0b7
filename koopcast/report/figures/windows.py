"""How a cycle stands: fit to the reports window by window, their fate, and the last analysis."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from koopcast.report.figures.fields import Scale, error_scale, field_scale, spread_scale
from koopcast.report.style import (
    FIELD_MAP,
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

MOST = 500
"""Last windows that are drawn."""


def monitor_series(table: pd.DataFrame, units: str) -> Picture:
    """Draw the fit to the reports and the spread, window by window.

    Args:
        table: A row a window: `label` (time), `ob_rms`, `oa_rms`, `background_spread`.
        units: Of the reports.
    """
    shown = table.tail(MOST)

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for column, label, colour in (
            ("ob_rms", "reports less background", SERIES[1]),
            ("oa_rms", "reports less analysis", SERIES[0]),
        ):
            axes.plot(shown["label"], shown[column], color=colour, label=label, linewidth=1.5)
        axes.plot(
            shown["label"], shown["background_spread"], color=MUTED, linestyle=(0, (2, 1.5)), linewidth=1.2,
            label="spread of the background",
        )  # fmt: skip
        axes.set_ylim(bottom=0.0)
        _dates(axes, shown["label"])
        axes.set_ylabel(with_units("root-mean-square", units))
        figure.legend(loc="outside upper left", ncols=2)

    caption = (
        "Reports should lie nearer to the analysis than to its background, and the spread of the background "
        "should stay below its distance from the reports, which have errors of their own."
    )
    mean = shown[["ob_rms", "oa_rms"]].mean()
    alt = f"Reports less background {mean['ob_rms']:.3g} and less analysis {mean['oa_rms']:.3g} on average"
    return Picture("monitors", "Fit to the reports, window by window", caption, alt, draw(plot, height=3.4))


def report_counts(table: pd.DataFrame, reasons: list[str]) -> Picture:
    """Draw what became of the reports of each window.

    Args:
        table: A row a window: `label` (time), `used`, and a column a reason.
        reasons: Columns of those that were rejected.
    """
    shown = table.tail(MOST)

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        below = np.zeros(len(shown))
        for place, column in enumerate(["used", *reasons]):
            values = shown[column].fillna(0).to_numpy(dtype=np.float64)
            axes.fill_between(
                shown["label"], below, below + values, step="mid", color=SERIES[place % len(SERIES)],
                alpha=0.85, linewidth=0, label=readable(column),
            )  # fmt: skip
            below = below + values
        axes.set_ylim(bottom=0.0)
        _dates(axes, shown["label"])
        axes.set_ylabel("reports")
        figure.legend(loc="outside upper left", ncols=3)

    total = int(shown[["used", *reasons]].fillna(0).to_numpy().sum())
    caption = "Every report of a window is in exactly one class; a hole is a window without reports."
    alt = f"{total} reports in {len(shown)} windows, {int(shown['used'].sum())} of them used"
    return Picture("reports", "What became of the reports", caption, alt, draw(plot, height=3.4))


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
    units = str(analysis.attrs.get("units", "1"))
    is_line = analysis.ndim == 1

    def plot(figure: Figure) -> None:
        grid = figure.subplots(3, 1, squeeze=False, sharex=True)[:, 0]
        for axes, (title, values, scale) in zip(grid, panels, strict=True):
            axes.set_title(title)
            if is_line:
                axes.plot(_coordinate(values, 0), values.values, color=SERIES[0], linewidth=1.5)
                axes.axhline(0, color=RULE, linewidth=0.7)
                axes.set_ylabel(with_units("", units))
            else:
                _map(figure, axes, values, scale, units)
        last = str(analysis.dims[-1])
        grid[-1].set_xlabel(LABELS.get(last, last))

    title = f"{sentence(readable(variable))}, window {label}"
    caption = "The last window: what is believed, what the reports changed, and how sure the ensemble is."
    height = 6.2 if is_line else min(3 * 9.0 * analysis.shape[-2] / analysis.shape[-1], 11.0) + 1.6
    alt = f"Analysis, increment and spread of {variable} in window {label}"
    return Picture(f"fields-{variable}", title, caption, alt, draw(plot, width="wide", height=height), "wide")


def _map(figure: Figure, axes: Axes, values: xr.DataArray, scale: Scale, units: str) -> None:
    axes.set_facecolor(LAND)
    axes.grid(False)
    mesh = axes.pcolormesh(
        _coordinate(values, -1), _coordinate(values, -2), np.ma.masked_invalid(values.values),
        cmap=scale.colours or FIELD_MAP, vmin=scale.low, vmax=scale.high, shading="nearest", rasterized=True,
    )  # fmt: skip
    bar = figure.colorbar(mesh, ax=axes, label=with_units("", units), pad=0.012, fraction=0.03)
    bar.outline.set_visible(False)


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
