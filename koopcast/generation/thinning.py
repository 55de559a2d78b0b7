"""Grids that are computed on and stored in part: every so many points along each space axis."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from koopcast.grids import Axis, FieldsInfo
from koopcast.systems.base import SystemSpec

ROUND_OFF = 1e-9


def kept(info: FieldsInfo, every: int, *, is_varied: bool) -> FieldsInfo:
    """Return the contract of what is stored of computed fields.

    What a producer certifies holds for one system: it is not passed on where options are varied.
    """
    axes = tuple(replace(axis, size=-(-axis.size // every)) for axis in info.axes)
    return replace(info, axes=axes, properties=frozenset() if is_varied else info.properties)


def thin(values: np.ndarray, first: int, axes: int, every: int) -> np.ndarray:
    """Return every so many entries along `axes` axes from the axis `first` on."""
    kept_places = (*[slice(None)] * first, *[slice(None, None, every)] * axes)
    thinned: np.ndarray = values[kept_places]
    return thinned


def faulty_thinning(system: SystemSpec, every: int) -> str | None:
    """Return why the points kept would be no grid of the same domain, and what to give; None where they are.

    A periodic axis of n points is cut into parts of equal length where `every` divides n, another, whose ends
    both are points, where it divides n - 1.
    """
    if every == 1:
        return None
    axes, places = system.describe().axes, system.coordinates()
    for axis in axes:
        if axis.geometry != "cartesian":
            return f"'{system.kind}' has no grid in space; remove it"
        ends = places[axis.name][[0, -1]]
        extent = float(ends[1] - ends[0])
        if not axis.periodic and abs(extent - (axis.length or 0.0)) > ROUND_OFF * extent:
            return (
                f"of the values of '{system.kind}' none lies at the ends of '{axis.name}', and fewer of them "
                "are no grid of the same domain; remove it, or lower `points`"
            )
    for axis in axes:
        if _intervals(axis) % every or axis.size <= every:
            what = f"{axis.size} points" if axis.periodic else f"{axis.size - 1} intervals between points"
            return (
                f"{every} does not cut the {what} of '{axis.name}' into equal parts; use {_near(axes, every)}"
            )
    return None


def _intervals(axis: Axis) -> int:
    return axis.size if axis.periodic else axis.size - 1


def _near(axes: Sequence[Axis], every: int) -> str:
    """Return the nearest numbers that cut all axes into equal parts."""
    common = math.gcd(*(_intervals(axis) for axis in axes))
    possible = [d for d in range(1, min(axis.size for axis in axes)) if common % d == 0]
    nearest = [max(d for d in possible if d < every), min((d for d in possible if d > every), default=None)]
    return " or ".join(str(number) for number in nearest if number is not None)
