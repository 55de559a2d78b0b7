"""What generated data say of themselves: coordinates, attributes, and the shape of what is to come."""

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from koopcast.fields import MASK
from koopcast.generation.recipe import Draws, Made, Recipe
from koopcast.generation.thinning import thin
from koopcast.grids import Axis, FieldsInfo
from koopcast.systems.base import SystemSpec

PACKAGES = ("koopcast", "numpy", "scipy", "torch")
"""Whose versions can show in the last digits."""
COUNTS = ("applications", "iterations")
"""Figures that are whole numbers."""
LONG_NAMES = {
    "applications": "products with the matrix in the solve",
    "defect": "largest relative drift of an invariant",
    "iterations": "iterations of the solver",
    "residual": "relative residual of the linear system",
    "weight": "weight of the sample in means over the laws of the parameters",
}


def empty(
    system: SystemSpec,
    info: FieldsInfo,
    dtype: str,
    every: int = 1,
    mask: Bool[np.ndarray, "*space"] | None = None,
) -> xr.Dataset:
    """Return the dataset of a contract with lazy fields without values; without a step it has no time.

    Args:
        system: What the fields are of.
        info: What is stored of them.
        dtype: Type of their numbers.
        every: Of so many points along each space axis one is stored.
        mask: Where the domain has points, on the system's grid; None: everywhere.
    """
    # Only what makes data needs it, and it takes a while to import.
    import dask.array as lazy

    times = () if info.is_stationary else (info.time.size,)
    dims = ("sample", *(("time",) if times else ()), *(axis.name for axis in info.axes))
    shape = (info.samples, *times, *info.shape)
    variables = {
        name: xr.DataArray(
            lazy.zeros(shape, dtype=dtype, chunks=shape),
            dims=dims,
            attrs={"units": units, "long_name": f"{name} of {system.kind}"},
        )
        for name, units in info.variables.items()
    }
    if mask is not None:
        attrs = {"units": "1", "long_name": "1 where a cell holds data"}
        variables[MASK] = xr.DataArray(
            thin(mask, 0, mask.ndim, every).astype(np.int8), dims=dims[-len(info.axes) :], attrs=attrs
        )
    return xr.Dataset(variables, coords=_coordinates(system, info, every))


def _coordinates(system: SystemSpec, info: FieldsInfo, every: int) -> dict[str, xr.DataArray]:
    places = system.coordinates()
    coords = {
        axis.name: xr.DataArray(
            _places(axis, places[axis.name][::every].numpy()),
            dims=axis.name,
            attrs={"units": axis.units, "long_name": f"{axis.name} of the system"},
        )
        for axis in info.axes
    }
    if info.is_stationary:
        return coords
    times = np.round(np.arange(info.time.size, dtype=np.float64) * float(info.time.step), 12)
    attrs = {"units": "1", "long_name": "time in units of the model"}
    return {"time": xr.DataArray(times, dims="time", attrs=attrs), **coords}


def _places(axis: Axis, places: Float[np.ndarray, " point"]) -> np.ndarray:
    return places.astype("int64") if axis.name == "state" else places


def origin(system: SystemSpec, draws: Draws, **options: Any) -> dict[str, str | float | int]:
    """Return the attributes of every dataset: what was solved, with what numbers, by which code."""
    sentence = (system.__doc__ or "").strip().splitlines()[0]
    described = system.describe()
    given = {
        "title": sentence,
        "equation": sentence,
        "references": type(system).reference,
        "system": system.model_dump_json(),
        "parameters": {name: law.model_dump(mode="json") for name, law in sorted(draws.laws.items())},
        "design": draws.design.model_dump(mode="json") if draws.design is not None else None,
        "grid": "; ".join(_grid(axis) for axis in described.axes),
        "seed": draws.seed,
        "versions": {name: version(name) for name in PACKAGES},
        **options,
    }
    return {name: _plain(value) for name, value in given.items() if value not in (None, {}, "")}


def _grid(axis: Axis) -> str:
    extent = "" if axis.length is None else f", length {axis.length:g}"
    return f"{axis.name}: {axis.size} points{extent}{', periodic' if axis.periodic else ''}"


def _plain(value: Any) -> str | float | int:
    return value if isinstance(value, str | float | int) else json.dumps(value, sort_keys=True)


def conclusion(recipe: Recipe, made: list[Made]) -> xr.Dataset:
    """Return what is known when all blocks are made: one number a sample, and attributes of the whole.

    Raises:
        ComputeError: More samples were refused than may be.
    """
    refused = {sample: reason for block in made for sample, reason in block.refused.items()}
    recipe.refuse_beyond_share(refused)
    names = sorted({name for block in made for name in block.figures})
    figures = {name: _joined(recipe, made, name) for name in names}
    notes = {name: value for block in made for name, value in block.notes.items()}
    for name in COUNTS:
        if name in figures:
            values = figures[name] = figures[name].astype(np.int64)
            notes |= {f"{name}_mean": float(values.mean()), f"{name}_max": int(values.max())}
    attributes = {**recipe.attributes(), **notes}
    if refused:
        attributes["refused_samples"] = json.dumps(
            {sample: refused[sample] for sample in sorted(refused, key=int)}
        )
    variables = {
        name: xr.DataArray(
            values, dims="sample", attrs={"units": "1", "long_name": LONG_NAMES.get(name, name)}
        )
        for name, values in figures.items()
    }
    return xr.Dataset(variables, attrs=attributes)


def _joined(recipe: Recipe, made: list[Made], name: str) -> Float[np.ndarray, " sample"]:
    parts = [
        made[block].figures.get(name, [np.nan] * len(recipe.members(block)))
        for block in range(recipe.num_blocks)
    ]
    return np.array([value for part in parts for value in part], dtype=np.float64)
