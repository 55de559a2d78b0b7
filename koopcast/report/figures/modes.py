"""Spatial patterns of Koopman modes."""

from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koopcast.report.clock import Clock
from koopcast.report.style import COLUMN, LABELS, LAND, SERIES, SIGNED_MAP, WIDE, Picture, draw, sentence

SHOWN = 4
"""Modes of a figure."""
BAND = 3.0


def mode_maps(diagnostics: xr.Dataset, clock: Clock, model: str, name: str) -> Picture:
    """Draw the patterns of the first modes, each scaled to its own largest value.

    Args:
        diagnostics: `mode_field` `(mode, [channel,] *space)`, and `eigenvalue_real`, `eigenvalue_imag`.
        clock: What a step is called.
        model: Whose they are.
        name: Of the picture.
    """
    fields = diagnostics["mode_field"]
    if "channel" in fields.dims:
        fields = fields.isel(channel=0, drop=True)
    value = diagnostics["eigenvalue_real"].values + 1j * diagnostics["eigenvalue_imag"].values
    chosen = [
        place for place in range(fields.sizes["mode"]) if place >= value.size or value[place].imag >= 0
    ][:SHOWN]
    titles = [
        mode_title(value[place], clock) if place < value.size else f"mode {place + 1}" for place in chosen
    ]
    is_line = fields.ndim == 2
    aspect = 0.3 if is_line else fields.shape[-2] / fields.shape[-1]
    columns = 1 if aspect * BAND < 1 else 2
    rows = -(-len(chosen) // columns)
    width = COLUMN if is_line else WIDE
    height = rows * (min(max(aspect * 0.8 * width / columns, 0.9), 3.2) + 0.35) + 0.3

    def plot(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(chosen) :]:
            axes.set_visible(False)
        for place, title, axes in zip(chosen, titles, grid.flat, strict=False):
            axes.set_title(title)
            _mode(axes, fields.isel(mode=place))
        for axes in grid[-1]:
            axes.set_xlabel(LABELS.get(str(fields.dims[-1]), str(fields.dims[-1])))

    title = f"{sentence(model)}: spatial modes"
    caption = "Real part of each mode, scaled to its largest value; red and blue have opposite phase."
    size: Literal["column", "wide"] = "column" if is_line else "wide"
    return Picture(
        name, title, caption, f"{title}: {'; '.join(titles)}", draw(plot, width=size, height=height), size
    )


def _mode(axes: Axes, field: xr.DataArray) -> None:
    """Draw one pattern: a line, or a map (the first level of a volume)."""
    scaled = np.asarray(field.values, dtype=np.float64)
    scaled = scaled / max(float(np.nanmax(np.abs(scaled))), 1e-30)
    along = [field[dim].values if dim in field.coords else np.arange(field.sizes[dim]) for dim in field.dims]
    if field.ndim == 1:
        axes.plot(along[0], scaled, color=SERIES[0], linewidth=1.4)
        return
    axes.set_facecolor(LAND)
    axes.grid(False)
    level = np.ma.masked_invalid(scaled.reshape(-1, *scaled.shape[-2:])[0])
    axes.pcolormesh(
        along[-1], along[-2], level, cmap=SIGNED_MAP, vmin=-1, vmax=1, shading="nearest", rasterized=True
    )


def mode_title(value: complex, clock: Clock) -> str:
    """Return period and decay time of an eigenvalue in words."""
    modulus, angle = abs(value), abs(np.angle(value))
    period = f"period {clock.text(2 * np.pi / angle)}" if angle > 1e-9 else "no oscillation"
    if modulus > 1 + 1e-6:
        return f"{period}, grows by {100 * (modulus - 1):.2g} % a step"
    if modulus > 1 - 1e-6:
        return f"{period}, no decay"
    return f"{period}, fades over {clock.text(-1 / np.log(max(modulus, 1e-12)))}"
