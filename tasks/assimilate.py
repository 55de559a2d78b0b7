"""Cycle a model through observations."""

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.records import Cycles, joined
from koopcast.fields import FieldData, to_dataset
from koopcast.observations.base import ObservationSet
from koopcast.rng import torch_generator
from koopcast.stores.arrays import write_fields
from koopcast.stores.files import open_data, write_json, write_table
from schemas.stages import AssimilateStep
from tasks.workspace import Workspace

ANALYSIS, OBSERVATIONS, CYCLES, SETTINGS = (
    "analysis.zarr",
    "observations.zarr",
    "cycles.parquet",
    "analysis.json",
)


def assimilate(step: AssimilateStep, workspace: Workspace) -> None:
    """Draw the observations and the first ensemble, cycle, and keep ensembles, departures and figures."""
    experiment, state = begin(step, workspace)
    end(step, experiment, joined(run(experiment, state, keep=step.keep)), workspace)


def begin(step: AssimilateStep, workspace: Workspace) -> tuple[Experiment, CycleState]:
    """Return the experiments of a step, and where they start."""
    truth = workspace.data(step.data)
    dynamics = workspace.dynamics(step.model)
    device = workspace.device
    observations = observe(step, truth, workspace)
    training = open_data(workspace.artefact(step.data).path).part_or_all("train")
    prior = None if step.prior is None else workspace.prior(step.prior)
    experiment = Experiment(dynamics, step.method, observations, truth, training, step.model_noise, prior)
    size = (step.repeats, step.method.num_members())
    ensemble = step.initial.draw(
        dynamics, truth, training, size, workspace.generator("initial", device=str(device))
    )
    return experiment, CycleState(ensemble, workspace.generator("cycle", device=str(device)))


def end(step: AssimilateStep, experiment: Experiment, cycles: Cycles, workspace: Workspace) -> None:
    """Keep what the cycles left behind."""
    write(cycles, experiment.observations, experiment.truth, workspace)
    settings = {"burn_in": step.burn_in, "records": step.records}
    write_json(workspace.path / SETTINGS, {**settings, "data": str(step.data), "part": step.data.part})


def observe(step: AssimilateStep, truth: FieldData, workspace: Workspace) -> ObservationSet:
    """Return the observations of the experiments, drawn from the stream that equal steps share."""
    assert workspace.job.observation_seed is not None
    generator = torch_generator(workspace.job.observation_seed, device=str(workspace.device))
    observations = step.observations.observe(truth, step.repeats, generator)
    if step.records == "all":
        observations = observations.at_every_record(truth.view.num_times)
    return observations.first(step.cycles) if step.cycles is not None else observations


def write(cycles: Cycles, observations: ObservationSet, truth: FieldData, workspace: Workspace) -> None:
    """Write what the cycles left behind."""
    times = truth.times()[cycles.record.numpy()]
    path = workspace.path / ANALYSIS
    for group, fields in (("analysis", cycles.analysis), ("background", cycles.background)):
        write_fields(path, _ensemble(fields, truth, times), group=group)
    for group, spread in (
        ("spread", cycles.analysis_spread),
        ("background_spread", cycles.background_spread),
    ):
        write_fields(path, to_dataset(spread, truth, times), group=group)
    write_fields(workspace.path / OBSERVATIONS, _observed(cycles, observations, times))
    write_table(workspace.path / CYCLES, _figures(cycles))


def _ensemble(fields: Tensor, truth: FieldData, times: xr.DataArray) -> xr.Dataset:
    """Return members `(batch, member, time, *space, channel)` as a dataset."""
    members = [to_dataset(fields[:, number], truth, times) for number in range(fields.shape[1])]
    whole = xr.concat(members, "member", join="exact")
    return whole.transpose("sample", "member", "time", ...)


def _observed(cycles: Cycles, observations: ObservationSet, times: xr.DataArray) -> xr.Dataset:
    columns: dict[str, Tensor] = {
        "index": observations.index,
        "value": observations.value,
        "variance": observations.variance,
        "background": cycles.observed_background,
        "analysis": cycles.observed_analysis,
    }
    variables = {
        name: (
            ("sample", "time", "obs"),
            column.cpu().numpy().astype("int64" if name == "index" else "float32"),
        )
        for name, column in columns.items()
    }
    return xr.Dataset(variables, coords={"time": times})


def _figures(cycles: Cycles) -> pd.DataFrame:
    """Return one row an experiment and analysis time."""
    batch, count = cycles.figures["rmse"].shape
    record = np.tile(cycles.record.numpy(), batch)
    sample = np.repeat(np.arange(batch), count)
    figures = {name: torch.as_tensor(values).cpu().numpy().ravel() for name, values in cycles.figures.items()}
    return pd.DataFrame({"sample": sample, "record": record, **figures})
