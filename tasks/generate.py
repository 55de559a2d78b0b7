"""Integrate a system into a dataset."""

import xarray as xr

from koopcast.fields import FieldData
from koopcast.generation import dataset, describe
from koopcast.generation import generate as integrate
from koopcast.split import apply_split
from koopcast.stores.files import write_data
from schemas.stages import GenerateStep
from tasks.workspace import Workspace, integration


def generate(step: GenerateStep, workspace: Workspace) -> None:
    """Draw initial states, integrate them all at once, and name the parts."""
    run, first, blocks = integration(step), 0, []
    for values in integrate(run, workspace.generator(device=str(workspace.device))):
        blocks.append(dataset(run, values, first, step.dtype))
        first += values.shape[1]
    fields = xr.concat(blocks, "time", data_vars="minimal", join="exact") if len(blocks) > 1 else blocks[0]
    info = describe(run)
    if step.split is not None:
        info = apply_split(info, step.split, fields["time"].values)
    write_data(workspace.path, FieldData(fields, info))
