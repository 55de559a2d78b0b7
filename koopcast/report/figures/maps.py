"""Maps of truth, forecast or analysis, error and spread."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from koopcast.report.clock import Clock, moment
from koopcast.report.figures.fields import Panel, is_observed, panels
from koopcast.report.style import (
    INK,
    LABELS,
    LAND,
    SURFACE,
    WIDE,
    Picture,
    draw,
    readable,
    sentence,
    with_units,
)

BAND = 3.0
"""Maps wider than so many times their height are drawn in one column."""


def field_maps(example: xr.Dataset, variable: str, clock: Clock, subject: str, name: str) -> Picture:
    """Draw an example of a forecast or an analysis over two space axes, at its last time.

    Args:
        example: Dims `(source, time, lead, *space)`, NaN at masked cells; `site_<axis>` where observed.
        variable: Which of its variables.
        clock: What a step is called.
        subject: Whose it is.
        name: Of the picture.
    """
    last = example.isel(time=-1)
    fields = last[variable]
    is_forecast = "forecast" in example["source"].values
    lead_text = {int(lead): clock.text(int(lead)) for lead in example["lead"].values}
    space = [str(dim) for dim in fields.dims if dim not in ("source", "lead")]
    for extra in space[:-2]:
        fields = fields.isel({extra: fields.sizes[extra] // 2}, drop=True)
    shown = panels(fields, is_forecast=is_forecast, lead_text=lead_text)
    sites = _sites(last, space[-2:], variable)
    units = str(example[variable].attrs.get("units", "1"))
    rows, columns, height = _layout(shown, fields.sizes[space[-2]] / fields.sizes[space[-1]])

    def plot(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        groups: dict[str, tuple[list[Axes], QuadMesh]] = {}
        for panel, axes in zip(shown, grid.flat, strict=False):
            mesh = _map(axes, panel, sites if panel.shows_sites else None)
            groups.setdefault(panel.group, ([], mesh))[0].append(axes)
        for axes in grid[-1]:
            axes.set_xlabel(LABELS.get(space[-1], space[-1]))
        for axes in grid[:, 0]:
            axes.set_ylabel(LABELS.get(space[-2], space[-2]) if rows < 5 else "")
        for group, (own, mesh) in groups.items():
            label = with_units({"field": readable(variable)}.get(group, group), units)
            bar = figure.colorbar(
                mesh, ax=own, label=label, pad=0.012, fraction=0.05, aspect=9 * len(own) / columns
            )
            bar.outline.set_visible(False)

    is_map = "prediction" in example["source"].values
    when = "first pair" if is_map else moment(example["time"].isel(time=-1))
    title = f"{sentence(subject)}: {readable(variable)}, {when}"
    dots = " Dots are the observation sites of that time." if sites is not None else ""
    first = "The first pair of the data." if is_map else "One time, the last of the test window."
    caption = (
        f"{first} Fields share one colour scale, errors (less the truth) another, white where there is none; "
        f"grey cells hold no data.{dots}"
    )
    alt = f"Maps of {', '.join(panel.title for panel in shown)}, {when}"
    return Picture(name, title, caption, alt, draw(plot, width="wide", height=height), "wide")


def _layout(shown: list[Panel], aspect: float) -> tuple[int, int, float]:
    """Return rows, columns and the height of the figure."""
    columns = 1 if aspect * BAND < 1 else min(3, len(shown))
    rows = -(-len(shown) // columns)
    each = min(max(aspect * 0.8 * WIDE / columns, 0.95), 3.4)
    return rows, columns, rows * (each + 0.3) + 0.4


def _map(axes: Axes, panel: Panel, sites: tuple[np.ndarray, np.ndarray] | None) -> QuadMesh:
    """Draw one panel and return its mesh for the colour bar."""
    vertical, horizontal = (str(dim) for dim in panel.values.dims)
    x, y = (_coordinate(panel.values, dim) for dim in (horizontal, vertical))
    axes.set_facecolor(LAND)
    axes.grid(False)
    mesh = axes.pcolormesh(
        x,
        y,
        np.ma.masked_invalid(panel.values.values),
        cmap=panel.scale.colours,
        vmin=panel.scale.low,
        vmax=panel.scale.high,
        shading="nearest",
        rasterized=True,
    )
    error = float(np.sqrt(np.nanmean(panel.values.values.astype(np.float64) ** 2)))
    axes.set_title(panel.title)
    if panel.group == "error":
        axes.set_title(f"rms {error:.3g}", loc="right", fontsize=8.5)
    if sites is not None:
        axes.plot(*sites, linestyle="", marker="o", markersize=3.4, color=SURFACE, mec=INK, mew=0.7)
    return mesh


def _coordinate(values: xr.DataArray, dim: str) -> np.ndarray:
    return np.asarray(values[dim].values if dim in values.coords else np.arange(values.sizes[dim]))


def _sites(example: xr.Dataset, space: list[str], variable: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the places where the variable was observed, horizontal first."""
    if "site_channel" not in example:
        return None
    own = is_observed(example, variable)
    return example[f"site_{space[1]}"].values[own], example[f"site_{space[0]}"].values[own]
