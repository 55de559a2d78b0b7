"""What the page of a run shows of a dataset: counts, checks, a few fields."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from koopcast.fields import FieldData
from koopcast.report import DataPart

SAMPLES, MAPS, RECORDS = 3, 4, 400
"""Samples, maps of one sample, and records along a time axis that are drawn."""
MOST_VARIABLES = 3
SAID = ("solver", "integrator", "reason")
"""Attributes of generated data that are facts, where they are short."""
LONGEST = 90


def data_part(data: FieldData) -> DataPart:
    """Return what to show of a dataset; a few fields are read, the rest is not."""
    return DataPart(dict(_facts(data)), example(data).load())


def example(data: FieldData) -> xr.Dataset:
    """Return the first samples: records in a row over one space axis, over two a few maps, of one sample
    where there is time.
    """
    space = len(data.info.axes)
    fields = data.dataset[list(data.info.variables)[:MOST_VARIABLES]]
    has_time = "time" in fields.dims
    if "sample" in fields.dims:
        count = (1 if has_time else MAPS) if space == 2 else SAMPLES
        fields = fields.isel(sample=slice(count))
    if not has_time:
        return fields
    if space == 1:
        return fields.isel(time=slice(RECORDS))
    last = fields.sizes["time"] - 1
    return fields.isel(time=np.unique(np.linspace(0, last, min(MAPS, last + 1)).round().astype(int)))


def _facts(data: FieldData) -> Iterator[tuple[str, float | int | str]]:
    yield "samples", data.info.samples
    if "time" in data.dataset.dims:
        yield "records", data.info.time.size
    yield "grid", " x ".join(str(size) for size in data.info.shape)
    for attribute in SAID:
        text = str(data.dataset.attrs.get(attribute, ""))
        if text and len(text) <= LONGEST:
            yield attribute, text
    for name, values in data.dataset.data_vars.items():
        if values.dims == ("sample",) and values.dtype.kind in "if":
            low, high = float(values.min()), float(values.max())
            alike = int(low) if low.is_integer() else low
            yield str(name), alike if low == high else f"{low:.3g} to {high:.3g}"
