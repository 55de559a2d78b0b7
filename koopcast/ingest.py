"""From the files of a source to fields under contract: selection, units, mask, axes, time step, parts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from koopcast.errors import DataError, MissingFile, NotFinite
from koopcast.fields import MASK, FieldData
from koopcast.geography import is_global, select_range, tidied
from koopcast.grids import Axis, FieldsInfo, Geometry, TimeAxis
from koopcast.sources.base import SourceSpec
from koopcast.split import Split, apply_split
from koopcast.times import calendar_of, regular_step
from koopcast.units import canonical, conversion

__all__ = ["MaskPolicy", "Range", "Split", "apply_split", "describe", "ingest"]

MaskPolicy = Literal["auto", "none"]
Range = tuple[float | str, float | str]
_KEPT = ("units", "long_name", "standard_name", "cell_methods")
_PROVENANCE = (
    "title",
    "institution",
    "source",
    "references",
    "licence",
    "source_files",
    "rejected_rows",
    "stations",
)


def describe(
    source: SourceSpec,
    variables: Sequence[str],
    *,
    units: Mapping[str, str] | None = None,
    mask: MaskPolicy = "auto",
    select: Mapping[str, Range] | None = None,
    split: Split | None = None,
    periodic: Collection[str] = (),
) -> FieldsInfo:
    """Return the contract of what `ingest` will give, from metadata and coordinates alone.

    Whether cells are masked shows only in the values: `is_masked` is true here where the policy allows a
    mask, and settled by `ingest`. Arguments and errors are those of `ingest`.
    """
    dataset = _prepared(source, variables, units or {}, select or {})
    return _contract(dataset, variables, split, periodic, is_masked=mask == "auto")


def ingest(
    source: SourceSpec,
    variables: Sequence[str],
    *,
    units: Mapping[str, str] | None = None,
    mask: MaskPolicy = "auto",
    select: Mapping[str, Range] | None = None,
    split: Split | None = None,
    periodic: Collection[str] = (),
) -> FieldData:
    """Return the fields lazily, in float32; only the search for missing values reads them, block by block.

    Args:
        source: Reader of the files.
        variables: Names in the file; each becomes a channel, in this order.
        units: Variable -> units to convert to.
        mask: `auto` masks a cell for ever where the same cells are missing at every time, else time by time;
            a cell is missing where one variable or sample is. `none` refuses missing values.
        select: Axis -> closed range to keep; longitudes wrap.
        split: Parts.
        periodic: Space axes that close on themselves.

    Raises:
        EmptySelection: A range or a part holds nothing.
        NotFinite: Infinite values, or missing ones with `mask: none`.
        UnknownUnit: A unit is unknown or does not convert.
        DataError: A name is not there, or axes or times cannot be used.
        MissingFile: A file is not there, or is damaged.
    """
    dataset = _prepared(source, variables, units or {}, select or {})
    valid = _find_mask(dataset, variables, mask)
    if valid is not None:
        attributes = {"long_name": "1 where a cell holds data", "units": "1"}
        dataset = dataset.where(valid).assign({MASK: valid.astype(np.int8).assign_attrs(attributes)})
        for name in variables:
            dataset[name] = dataset[name].transpose(
                *(dim for dim in dataset.dims if dim in dataset[name].dims)
            )
    return FieldData(dataset, _contract(dataset, variables, split, periodic, is_masked=valid is not None))


def _prepared(
    source: SourceSpec, variables: Sequence[str], units: Mapping[str, str], select: Mapping[str, Range]
) -> xr.Dataset:
    stray = sorted(set(units) - set(variables))
    if stray:
        raise DataError(
            f"`units` names '{stray[0]}', which is not ingested", f"variables: {', '.join(variables)}"
        )
    dataset = tidied(source.open(variables))
    for axis, (first, last) in select.items():
        dataset = select_range(dataset, axis, first, last)
    for name in variables:
        dataset[name] = _converted(dataset[name], name, units.get(name))
    provenance = {key: dataset.attrs[key] for key in _PROVENANCE if dataset.attrs.get(key)}
    dataset.attrs = {"Conventions": "CF-1.11", **provenance}
    return dataset.drop_encoding()


def _converted(array: xr.DataArray, name: str, target: str | None) -> xr.DataArray:
    stated = str(array.attrs.get("units", ""))
    if target is not None and not stated:
        raise DataError(
            f"variable '{name}' states no units, so it cannot be converted to '{target}'",
            f"state them in the source: `units: {{{name}: ...}}`",
        )
    units = canonical(target if target is not None else stated, name)
    attributes = {key: array.attrs[key] for key in _KEPT if key in array.attrs} | {"units": units}
    change = conversion(stated, units, name) if target is not None else None
    if change is not None and not change.is_identity:
        array = array.astype(np.float64) * change.scale + change.offset
    array = array.astype(np.float32)
    array.attrs = attributes
    return array


def _find_mask(dataset: xr.Dataset, variables: Sequence[str], policy: MaskPolicy) -> xr.DataArray | None:
    """Return where cells hold data, `(*space)` or `(time, *space)`; None where all do."""
    missing = {name: dataset[name].isnull() for name in variables}
    union = sum(missing.values(), start=xr.zeros_like(missing[variables[0]]))
    if "sample" in union.dims:
        union = union.any("sample")
    figures = {f"{name} missing": array.sum() for name, array in missing.items()}
    figures |= {f"{name} infinite": np.isinf(dataset[name]).sum() for name in variables}
    # One dataset, so that one pass over the file yields all of them.
    times = [dim for dim in union.dims if dim == "time"]
    lazy = xr.Dataset({**figures, "ever": union.any(times), "always": union.all(times)})
    try:
        found = lazy.compute()
    except (OSError, RuntimeError, ValueError) as error:
        files = dataset.attrs.get("source_files", "the file")
        raise MissingFile(f"the values of {files} cannot be read ({error})", "get the file again") from error
    _refuse({what: int(found[what]) for what in figures}, policy)
    if not bool(found["ever"].any()):
        return None
    if bool(found["always"].all()):
        raise NotFinite(
            f"{', '.join(variables)} hold no number at all", "check `missing`, `select` and the file"
        )
    return ~found["ever"] if bool((found["ever"] == found["always"]).all()) else ~union


def _refuse(counts: Mapping[str, int], policy: MaskPolicy) -> None:
    for what, count in counts.items():
        name, kind = what.rsplit(" ", 1)
        if kind == "infinite" and count:
            raise NotFinite(f"variable '{name}' holds {count} infinite values", "repair the file")
        if kind == "missing" and count and policy == "none":
            raise NotFinite(f"variable '{name}' holds {count} missing values", "use `mask: auto`")


def _contract(
    dataset: xr.Dataset,
    variables: Sequence[str],
    split: Split | None,
    periodic: Collection[str],
    *,
    is_masked: bool,
) -> FieldsInfo:
    times, time = _times(dataset)
    dims = [dim for dim in dataset[variables[0]].dims if dim not in ("sample", "time")]
    if strangers := sorted(set(periodic) - {str(dim) for dim in dims}):
        raise DataError(
            f"`periodic` names '{strangers[0]}', which is no space axis of the fields",
            f"axes: {', '.join(map(str, dims))}",
        )
    info = FieldsInfo(
        variables={name: str(dataset[name].attrs["units"]) for name in variables},
        axes=tuple(_axis(dataset, str(dim), is_closed=dim not in periodic) for dim in dims),
        time=time,
        samples=dataset.sizes.get("sample", 1),
        is_masked=is_masked,
    )
    return apply_split(info, split, times)


def _times(dataset: xr.Dataset) -> tuple[np.ndarray, TimeAxis]:
    """Return the record times; samples without time have one record each, and no step."""
    if "time" not in dataset.dims:
        return np.zeros(1), TimeAxis(1, "")
    times = dataset["time"].values
    calendar = calendar_of(times)
    unit = "1" if calendar else str(dataset["time"].attrs.get("units", "1"))
    return times, TimeAxis(len(times), regular_step(times), unit, calendar)


def _axis(dataset: xr.Dataset, name: str, *, is_closed: bool) -> Axis:
    size = dataset.sizes[name]
    geometries: dict[str, Geometry] = {"latitude": "latitude", "longitude": "longitude", "point": "index"}
    geometry = geometries.get(name, "cartesian" if name in dataset.coords else "index")
    if geometry == "index" or name not in dataset.coords:
        return Axis(name, size, "index")
    values = dataset[name].values.astype(np.float64)
    units = str(dataset[name].attrs.get("units", "1"))
    if geometry == "longitude" and is_global(values):
        return Axis(name, size, geometry, True, 360.0, units)
    if not is_closed:
        spacing = abs(values[-1] - values[0]) / max(1, size - 1)
        return Axis(name, size, geometry, True, float(size * spacing), units)
    return Axis(name, size, geometry, False, float(abs(values[-1] - values[0])), units)
