"""A few fields of each subject beside the truth, for maps and space-time diagrams."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.verification.analyses import AnalysisFields, analysis_times
from koopcast.verification.fields import Setting, Subject

LONGEST = 240
"""Records of a space-time diagram."""
WIDEST = 1024
"""Cells along an axis; finer grids are thinned."""


def forecast_example(setting: Setting, subject: Subject, data: FieldData) -> xr.Dataset:
    """Return truth and forecast of the first sample, dims `(source, time, lead, *space)`.

    Time is the verifying record: the last one where there are several space axes, else the last ones on end.
    """
    keep = slice(-_num_times(setting), None)
    valid = setting.valid[:1, keep]
    truth = setting.truth[:1, keep].expand(subject.frames[:1, keep].shape)
    stack = {"truth": truth[0], "forecast": subject.frames[0, keep]}
    return _dataset(stack, valid[0], setting, data, data.times()[keep])


def analysis_example(
    setting: Setting, after: Subject, before: Subject | None, fields: AnalysisFields, data: FieldData
) -> xr.Dataset:
    """Return truth, background, analysis and spread of the first experiment, and the sites that it observed.

    Dims are `(source, time, lead, *space)` with lead 0; `site_<axis>` and `site_channel` have `(time, obs)`,
    NaN or -1 where nothing was observed; the attribute `flag_meanings` names the channels in order.
    """
    keep = slice(-_num_times(setting), None)
    stack = {"truth": setting.truth[0, keep], "analysis": after.frames[0, keep]}
    if before is not None:
        stack["background"] = before.frames[0, keep]
    if after.members is not None:
        stack["spread"] = after.members[0, :, keep].std(dim=0)
    chosen = analysis_times(fields)[keep]
    times = fields.analysis["time"].isel(time=chosen)
    dataset = _dataset(stack, setting.valid[0, keep], setting, data, times)
    return dataset if fields.observations is None else _with_sites(dataset, fields.observations, chosen, data)


def _num_times(setting: Setting) -> int:
    return 1 if len(setting.info.axes) > 1 else LONGEST


def _dataset(
    stack: dict[str, Float[Tensor, "time lead *space channel"]],
    valid: Tensor,
    setting: Setting,
    data: FieldData,
    times: xr.DataArray,
) -> xr.Dataset:
    dims = ("source", "time", "lead", *(axis.name for axis in setting.info.axes))
    values = torch.where(valid, torch.stack(list(stack.values())), torch.nan).numpy()
    variables = {
        name: (dims, values[..., channel], {**data.dataset[name].attrs, "units": setting.units[name]})
        for channel, name in enumerate(setting.info.variables)
    }
    space = {
        axis.name: data.dataset[axis.name] for axis in setting.info.axes if axis.name in data.dataset.coords
    }
    coords = {
        "source": np.array(list(stack), dtype=object),
        "lead": list(setting.leads),
        "time": times.values,
        **space,
    }
    thin = {axis.name: slice(None, None, -(-axis.size // WIDEST)) for axis in setting.info.axes}
    return xr.Dataset(variables, coords=coords).isel(thin)


def _with_sites(
    dataset: xr.Dataset, observations: xr.Dataset, chosen: Int[np.ndarray, " time"], data: FieldData
) -> xr.Dataset:
    """Add where the first experiment was observed: coordinates of each site, and its channel."""
    first = observations.isel(sample=0, time=chosen)
    cell, channel = np.divmod(first["index"].values.astype(np.int64), data.info.num_channels)
    known = np.isfinite(first["value"].values) & (cell >= 0)
    places = np.unravel_index(np.where(known, cell, 0), data.info.shape)
    names = " ".join(data.info.variables)
    sites = {"site_channel": (("time", "obs"), np.where(known, channel, -1), {"flag_meanings": names})}
    for axis, place in zip(data.info.axes, places, strict=True):
        along = data.dataset[axis.name].values if axis.name in data.dataset.coords else np.arange(axis.size)
        sites[f"site_{axis.name}"] = (
            ("time", "obs"),
            np.where(known, along[place].astype(np.float64), np.nan),
            {},
        )
    return dataset.assign(sites)
