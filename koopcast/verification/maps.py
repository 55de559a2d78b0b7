"""Maps of fields beside the truth: what a model makes of the inputs of a part, pair by pair."""

from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast.batches import Runs
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.mapping import Signature
from koopcast.models import MapModel
from koopcast.progress import report
from koopcast.verification.fields import Setting, Subject, area_weights, numbers

BATCH = 64
LONGEST = 240
"""Frames of the example that is drawn."""


def pairs_of(signature: Signature, data: FieldData) -> Runs:
    """Return the runs of records in the window of `data` that hold a pair each.

    Raises:
        EmptySelection: There is none.
    """
    return Runs(signature.seen(data), signature.num_frames, "the data to evaluate on")


def setting_of(signature: Signature, data: FieldData) -> Setting:
    """Return the true outputs, dims `(pair, frame, 1, *space, channel)`."""
    runs, names = pairs_of(signature, data), tuple(data.info.variables)
    frames = [signature.target(run, names) for run in runs.batches(BATCH)]
    truth = torch.cat(frames)[:, :, None]
    info = output_info(data.info, signature)
    valid: Bool[Tensor, "1 frame 1 *space 1"] = data.always_valid()[None, None, None, ..., None]
    return Setting(
        info=info,
        units=dict(info.variables),
        truth=truth,
        valid=valid.expand(1, truth.shape[1], 1, *valid.shape[3:]),
        leads=(0,),
        climatology=None,
        area=area_weights(data),
        is_joint=True,
    )


def output_info(info: FieldsInfo, signature: Signature) -> FieldsInfo:
    """Return the contract of the outputs alone."""
    return replace(info, variables={name: info.variables[name] for name in signature.outputs})


@torch.no_grad()
def predicted(name: str, model: MapModel, data: FieldData, device: torch.device) -> Subject:
    """Return what a model makes of the inputs."""
    signature = model.signature
    runs, names = pairs_of(signature, data), tuple(data.info.variables)
    outputs: list[Float[Tensor, "pair frame *space channel"]] = []
    done = 0
    for run in runs.batches(BATCH):
        given = signature.given(run, names).to(device)
        outputs.append(model.predict(given).cpu())
        done += len(run)
        report("map", done, runs.count)
    return Subject(name, torch.cat(outputs)[:, :, None], card=numbers(model))


def map_example(setting: Setting, subject: Subject, data: FieldData) -> xr.Dataset:
    """Return truth and prediction of the first pair, dims `(source, time, lead, *space)`."""
    count = setting.truth.shape[1]
    kept = np.unique(np.linspace(0, count - 1, min(count, LONGEST)).round().astype(int)).tolist()
    stack = torch.stack([setting.truth[0, kept], subject.frames[0, kept]])
    values = torch.where(setting.valid[:, kept], stack, torch.nan).numpy()
    dims = ("source", "time", "lead", *(axis.name for axis in setting.info.axes))
    variables = {
        name: (dims, values[..., place], {**data.dataset[name].attrs, "units": setting.units[name]})
        for place, name in enumerate(setting.info.variables)
    }
    space = {
        axis.name: data.dataset[axis.name] for axis in setting.info.axes if axis.name in data.dataset.coords
    }
    coords = {"source": np.array(["truth", "prediction"], dtype=object), "lead": [0], "time": kept, **space}
    return xr.Dataset(variables, coords=coords)
