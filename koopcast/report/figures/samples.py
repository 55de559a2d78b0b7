"""Some fields of a dataset, as they are."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from koopcast.report.clock import moment, numbers
from koopcast.report.figures.fields import Scale, field_scale
from koopcast.report.style import LABELS, LAND, SERIES, WIDE, Picture, draw, readable, sentence, with_units

FEW = 8
"""Components up to which lines say more than colours."""
LEADING = ("sample", "time")


def sample_fields(example: xr.Dataset, step: str, name: str) -> Picture:
    """Draw a few samples, or times of one sample, of every variable.

    Args:
        example: Variables with dims `([sample,] [time,] *space)`: few of each, at most two space axes.
        step: Name of the step that made them.
        name: Of the picture.
    """
    first = next(iter(example.data_vars.values()))
    space = [str(dim) for dim in first.dims if dim not in LEADING]
    if len(space) == 2:
        return _maps(example, space, step, name)
    if "time" in first.dims and first.sizes["time"] > 1 and first.sizes[space[0]] > FEW:
        return _strips(example, space[0], step, name)
    return _lines(example, space[0], step, name)


def _maps(example: xr.Dataset, space: list[str], step: str, name: str) -> Picture:
    along = "sample" if example.sizes.get("sample", 1) > 1 else "time"
    columns = [
        (_title(example, along, place), example.isel({along: place}))
        if along in example.dims
        else ("", example)
        for place in range(example.sizes.get(along, 1))
    ]
    height = min(
        max(0.72 * WIDE / len(columns) * example.sizes[space[0]] / example.sizes[space[1]], 0.9), 3.4
    )

    def plot(figure: Figure) -> None:
        grid = figure.subplots(len(example.data_vars), len(columns), squeeze=False, sharex=True, sharey=True)
        for row, (variable, values) in zip(grid, example.data_vars.items(), strict=True):
            scale = field_scale([values])
            for axes, (title, fields) in zip(row, columns, strict=True):
                mesh = _mesh(axes, _plain(fields[variable], space), scale)
                axes.set_title(title if axes in grid[0] else "")
            row[0].set_ylabel(LABELS.get(space[0], space[0]))
            _bar(figure, mesh, list(row), str(variable), values)
        for axes in grid[-1]:
            axes.set_xlabel(LABELS.get(space[1], space[1]))

    what = "The first samples" if along == "sample" else "One sample at a few times"
    caption = f"{what}; each row is a variable with a colour scale of its own. Grey cells hold no data."
    drawn = draw(plot, width="wide", height=(height + 0.3) * len(example.data_vars) + 0.5)
    return _picture(example, step, name, caption, drawn)


def _strips(example: xr.Dataset, axis: str, step: str, name: str) -> Picture:
    time, time_label = numbers(example["time"])
    panels = [
        (variable, place) for variable in example.data_vars for place in range(example.sizes.get("sample", 1))
    ]

    def plot(figure: Figure) -> None:
        grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        scales = {variable: field_scale([values]) for variable, values in example.data_vars.items()}
        for axes, (variable, place) in zip(grid, panels, strict=True):
            fields = example.isel(sample=place) if "sample" in example.dims else example
            values = fields[variable].transpose(axis, "time")
            mesh = _mesh(axes, values, scales[variable], time)
            axes.set_title(_title(example, "sample", place) if "sample" in example.dims else "")
            axes.set_ylabel(axis)
            _bar(figure, mesh, [axes], str(variable), example[variable])
        grid[-1].set_xlabel(time_label)

    caption = "Time runs to the right; the samples of a variable share one colour scale."
    drawn = draw(plot, width="wide", height=1.25 * len(panels) + 0.5)
    return _picture(example, step, name, caption, drawn)


def _lines(example: xr.Dataset, axis: str, step: str, name: str) -> Picture:
    """Draw components against time, or variables against their axis where there is no time."""
    has_time = "time" in example.dims and example.sizes["time"] > 1
    abscissa, label = numbers(example["time"]) if has_time else (_coordinate(example[axis], axis), axis)
    rows = [
        (variable, component)
        for variable in example.data_vars
        for component in (range(example.sizes[axis]) if has_time else [None])
    ]

    def plot(figure: Figure) -> None:
        grid = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (variable, component) in zip(grid, rows, strict=True):
            for place in range(example.sizes.get("sample", 1)):
                fields = example.isel(sample=place) if "sample" in example.dims else example
                values = fields[variable].squeeze(drop=True) if component is None else fields[variable]
                values = values if component is None else values.isel({axis: component})
                axes.plot(
                    abscissa,
                    values,
                    color=SERIES[place % len(SERIES)],
                    linewidth=1.2,
                    label=f"sample {place + 1}",
                )
            part = "" if component is None or example.sizes[axis] == 1 else f" {component}"
            axes.set_ylabel(with_units(f"{readable(str(variable))}{part}", _units(example[variable])))
        grid[0].legend(loc="upper right", ncols=3)
        grid[-1].set_xlabel(label)

    caption = "Each colour is one of the first samples."
    drawn = draw(plot, width="wide", height=1.2 * len(rows) + 0.7)
    return _picture(example, step, name, caption, drawn)


def _picture(example: xr.Dataset, step: str, name: str, caption: str, drawn: str) -> Picture:
    variables = ", ".join(readable(str(variable)) for variable in example.data_vars)
    title = f"{sentence(readable(step))}: {variables}"
    return Picture(name, title, caption, f"Examples of {title}", drawn, "wide")


def _mesh(axes: Axes, values: xr.DataArray, scale: Scale, abscissa: np.ndarray | None = None) -> QuadMesh:
    vertical, horizontal = (str(dim) for dim in values.dims)
    x = _coordinate(values, horizontal) if abscissa is None else abscissa
    axes.set_facecolor(LAND)
    axes.grid(False)
    return axes.pcolormesh(
        x,
        _coordinate(values, vertical),
        np.ma.masked_invalid(values.values),
        cmap=scale.colours,
        vmin=scale.low,
        vmax=scale.high,
        shading="nearest",
        rasterized=True,
    )


def _plain(values: xr.DataArray, space: list[str]) -> xr.DataArray:
    """Return one field: the first along every other axis."""
    others = {dim: 0 for dim in values.dims if dim not in space}
    return values.isel(others, drop=True).transpose(*space)


def _title(example: xr.Dataset, along: str, place: int) -> str:
    return moment(example["time"].isel(time=place)) if along == "time" else f"sample {place + 1}"


def _bar(figure: Figure, mesh: ScalarMappable, axes: list[Axes], variable: str, values: xr.DataArray) -> None:
    label = with_units(readable(variable), _units(values))
    bar = figure.colorbar(mesh, ax=axes, label=label, pad=0.012, fraction=0.05, aspect=14)
    bar.outline.set_visible(False)


def _units(values: xr.DataArray) -> str:
    return str(values.attrs.get("units", "1"))


def _coordinate(values: xr.DataArray, dim: str) -> np.ndarray:
    return np.asarray(values[dim].values if dim in values.coords else np.arange(values.sizes[dim]))
