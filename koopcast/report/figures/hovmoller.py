"""Space-time diagrams of fields over one axis; lines where the axis has a few components only."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.markers import TICKLEFT

from koopcast.report.clock import Clock, numbers
from koopcast.report.figures.fields import Panel, is_observed, panels
from koopcast.report.style import INK, SERIES, SURFACE, Picture, draw, readable, sentence, with_units

FEW = 8
"""Components up to which lines say more than colours."""
MANY_SITES = 1500
"""Observations above which sites that move are not drawn."""


@dataclass(frozen=True)
class Sites:
    """Where a variable was observed, as marks in a space-time diagram."""

    times: np.ndarray
    places: np.ndarray
    caption: str
    are_fixed: bool

    def draw(self, axes: Axes) -> None:
        """Mark the sites: fixed ones by ticks at the left edge, others by dots."""
        if self.are_fixed:
            edge = np.full(self.places.size, axes.get_xlim()[0])
            axes.plot(edge, self.places, "", marker=TICKLEFT, color=SERIES[1], ms=5, mew=1.3, clip_on=False)
        else:
            axes.plot(self.times, self.places, "o", color=SURFACE, ms=2.2, mec=INK, mew=0.5)


def space_time(example: xr.Dataset, variable: str, clock: Clock, subject: str, name: str) -> Picture:
    """Draw an example of a forecast or an analysis over one space axis and time.

    Args:
        example: Dims `(source, time, lead, space)`, NaN at masked cells; `site_<axis>` where observed.
        variable: Which of its variables.
        clock: What a step is called.
        subject: Whose it is.
        name: Of the picture.
    """
    fields = example[variable]
    is_forecast = "forecast" in example["source"].values
    what = next(name for name in ("forecast", "prediction", "analysis") if name in example["source"].values)
    axis = str(fields.dims[-1])
    units = str(fields.attrs.get("units", "1"))
    title = f"{sentence(subject)}: {readable(variable)} over time"
    if fields.sizes[axis] <= FEW:
        return _component_lines(example, variable, what, title, name)
    lead_text = {int(lead): clock.text(int(lead)) for lead in example["lead"].values}
    shown = panels(fields, is_forecast=is_forecast, lead_text=lead_text)
    time, time_label = numbers(example["time"])
    sites = _sites(example, axis, variable, time)

    def plot(figure: Figure) -> None:
        grid = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        groups: dict[str, tuple[list[Axes], QuadMesh]] = {}
        for panel, axes in zip(shown, grid, strict=True):
            mesh = _strip(axes, panel, time, axis)
            if sites is not None and panel.shows_sites:
                sites.draw(axes)
            axes.set_ylabel(axis)
            groups.setdefault(panel.group, ([], mesh))[0].append(axes)
        grid[-1].set_xlabel(time_label)
        for group, (own, mesh) in groups.items():
            label = with_units({"field": readable(variable)}.get(group, group), units)
            bar = figure.colorbar(mesh, ax=own, label=label, pad=0.012, fraction=0.05, aspect=9 * len(own))
            bar.outline.set_visible(False)

    dots = "" if sites is None else f" {sites.caption}"
    caption = (
        "Time runs to the right. Fields share one colour scale, errors (less the truth) another, white where "
        "there is "
        f"none.{dots}"
    )
    alt = f"Space-time diagrams of {', '.join(panel.title for panel in shown)}"
    return Picture(
        name, title, caption, alt, draw(plot, width="wide", height=1.25 * len(shown) + 0.5), "wide"
    )


def _strip(axes: Axes, panel: Panel, time: np.ndarray, axis: str) -> QuadMesh:
    values = panel.values.transpose(axis, "time")
    place = values[axis].values if axis in values.coords else np.arange(values.sizes[axis])
    axes.grid(False)
    axes.set_title(panel.title)
    if panel.group == "error":
        error = float(np.sqrt(np.nanmean(values.values.astype(np.float64) ** 2)))
        axes.set_title(f"rms {error:.3g}", loc="right", fontsize=8.5)
    return axes.pcolormesh(
        time,
        place,
        np.ma.masked_invalid(values.values),
        cmap=panel.scale.colours,
        vmin=panel.scale.low,
        vmax=panel.scale.high,
        shading="nearest",
        rasterized=True,
    )


def _component_lines(example: xr.Dataset, variable: str, what: str, title: str, name: str) -> Picture:
    """Draw each component against time: truth in ink, the subject in colour."""
    fields = example[variable].isel(lead=0)
    axis = str(fields.dims[-1])
    time, time_label = numbers(example["time"])
    units = str(example[variable].attrs.get("units", "1"))

    def plot(figure: Figure) -> None:
        grid = figure.subplots(fields.sizes[axis], 1, sharex=True, squeeze=False)[:, 0]
        for place, axes in enumerate(grid):
            component = fields.isel({axis: place})
            axes.plot(
                time, component.sel(source="truth"), color=INK, linewidth=2.6, alpha=0.35, label="truth"
            )
            axes.plot(time, component.sel(source=what), color=SERIES[0], linewidth=1.2, label=what)
            axes.set_ylabel(with_units(f"{axis} {place}", units))
        grid[0].legend(loc="upper right", ncols=2)
        grid[-1].set_xlabel(time_label)

    lead = int(example["lead"].values[0])
    caption = "The truth is the broad line, the subject the thin one" + (
        f", at lead {lead}." if lead else "."
    )
    height = 1.1 * fields.sizes[axis] + 0.6
    return Picture(name, title, caption, title, draw(plot, width="wide", height=height), "wide")


def _sites(example: xr.Dataset, axis: str, variable: str, time: np.ndarray) -> Sites | None:
    """Return where the variable was observed; None where many sites move about."""
    if "site_channel" not in example:
        return None
    own = is_observed(example, variable)
    place = np.where(own, example[f"site_{axis}"].values, np.nan)
    if np.array_equal(place, np.broadcast_to(place[0], place.shape), equal_nan=True):
        fixed = place[0][own[0]]
        caption = "Orange ticks at the left edge are the observation sites."
        return Sites(np.full(fixed.size, time[0]), fixed, caption, True)
    if own.sum() <= MANY_SITES:
        return Sites(
            np.broadcast_to(time[:, None], place.shape)[own], place[own], "Dots are observations.", False
        )
    return None
