"""Cycle a model through observations."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from koopcast.assimilation.cycle import CycleState, Experiment, run
from koopcast.assimilation.diagnostics import Departures, table
from koopcast.assimilation.records import Cycles, joined
from koopcast.errors import Diverged
from koopcast.fields import FieldData, to_dataset
from koopcast.observations.base import ObservationSet
from koopcast.observations.quality import Flag
from koopcast.rng import torch_generator
from koopcast.stores.arrays import write_fields
from koopcast.stores.files import open_data, write_json, write_table
from schemas.stages import AssimilateStep
from tasks.workspace import Workspace

ANALYSIS, OBSERVATIONS, CYCLES, DEPARTURES, SETTINGS = (
    "analysis.zarr",
    "observations.zarr",
    "cycles.parquet",
    "departures.parquet",
    "analysis.json",
)


def assimilate(step: AssimilateStep, workspace: Workspace) -> None:
    """Draw the observations and the first ensemble, cycle, and keep ensembles, departures and figures."""
    experiment, state = begin(step, workspace)
    blocks: list[Cycles] = []
    try:
        blocks.extend(run(experiment, state, keep=step.keep))
    except Diverged as error:
        raise _kept(error, Result(experiment, step), blocks, workspace.slot.scratch) from error
    end(step, experiment, joined(blocks), workspace)


def _kept(error: Diverged, result: "Result", blocks: list[Cycles], folder: Path) -> Diverged:
    """Write the cycles before a failure, and return the error that says where they are."""
    if not blocks:
        return error
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cycles = joined(blocks)
    result.write(cycles, folder)
    return Diverged(
        error.message, f"{error.remedy}; the {len(cycles.record)} analyses before it are kept in '{folder}'"
    )


def begin(step: AssimilateStep, workspace: Workspace) -> tuple[Experiment, CycleState]:
    """Return the experiments of a step, and where they start."""
    truth = workspace.data(step.data)
    dynamics = workspace.dynamics(step.model)
    device = workspace.device
    observations = observe(step, truth, workspace)
    training = open_data(workspace.artefact(step.data).path).part_or_all("train")
    prior = None if step.prior is None else workspace.prior(step.prior)
    experiment = Experiment(
        dynamics, step.method, observations, truth, training, step.model_noise, step.limits, prior
    )
    size = (step.repeats, step.method.num_members())
    ensemble = step.initial.draw(
        dynamics, truth, training, size, workspace.generator("initial", device=str(device))
    )
    return experiment, CycleState(ensemble, workspace.generator("cycle", device=str(device)))


def end(step: AssimilateStep, experiment: Experiment, cycles: Cycles, workspace: Workspace) -> None:
    """Keep what the cycles left behind."""
    Result(experiment, step).write(cycles, workspace.path)


def observe(step: AssimilateStep, truth: FieldData, workspace: Workspace) -> ObservationSet:
    """Return the observations of the experiments, drawn from the stream that equal steps share."""
    assert workspace.job.observation_seed is not None
    generator = torch_generator(workspace.job.observation_seed, device=str(workspace.device))
    observations = step.observations.observe(truth, step.repeats, generator)
    if step.window is not None:
        observations = step.window.grouped(observations, truth.view.num_times)
    elif step.records == "all":
        observations = observations.at_every_record(truth.view.num_times)
    return observations.first(step.cycles) if step.cycles is not None else observations


@dataclass(frozen=True)
class Result:
    """What becomes of cycles on the disk."""

    experiment: Experiment
    step: AssimilateStep

    def write(self, cycles: Cycles, folder: Path) -> None:
        """Write what the cycles left behind: ensembles, observations with departures and flags, figures."""
        truth, observations = self.experiment.truth, self.experiment.observations.first(len(cycles.record))
        times = truth.times()[cycles.record.numpy()]
        path = folder / ANALYSIS
        for group, fields in (("analysis", cycles.analysis), ("background", cycles.background)):
            write_fields(path, _ensemble(fields, truth, times), group=group)
        for group, spread in (
            ("spread", cycles.analysis_spread),
            ("background_spread", cycles.background_spread),
        ):
            write_fields(path, to_dataset(spread, truth, times), group=group)
        write_fields(folder / OBSERVATIONS, _observed(cycles, observations, times))
        write_table(folder / CYCLES, _figures(cycles))
        write_table(folder / DEPARTURES, departures(cycles, observations, self.step))
        settings = {"burn_in": self.step.burn_in, "records": self.step.records}
        data = {"data": str(self.step.data), "part": self.step.data.part}
        write_json(folder / SETTINGS, {**settings, **data})


def _ensemble(fields: Tensor, truth: FieldData, times: xr.DataArray) -> xr.Dataset:
    """Return members `(batch, member, time, *space, channel)` as a dataset."""
    members = [to_dataset(fields[:, number], truth, times) for number in range(fields.shape[1])]
    whole = xr.concat(members, "member", join="exact")
    return whole.transpose("sample", "member", "time", ...)


def _observed(cycles: Cycles, observations: ObservationSet, times: xr.DataArray) -> xr.Dataset:
    """Return each observation with its departures, its type, and the one reason why it was not used."""
    columns: dict[str, Tensor] = {
        "value": observations.value,
        "variance": observations.variance,
        "background": cycles.observed_background,
        "analysis": cycles.observed_analysis,
        "background_spread": cycles.observed_spread,
    }
    dims = ("sample", "time", "obs")
    variables = {name: (dims, column.cpu().numpy().astype("float32")) for name, column in columns.items()}
    sections = list(observations.sections())
    kinds = np.concatenate([np.full(kind.count, number) for number, (kind, _) in enumerate(sections)])
    offset = observations.offset
    offsets = np.zeros(len(kinds)) if offset is None else offset.numpy()
    names = " ".join(kind.name for kind, _ in sections)
    located = np.concatenate([np.full(kind.count, kind.is_located) for kind, _ in sections])
    index = observations.index.masked_fill(~torch.from_numpy(located), -1)
    return xr.Dataset(
        {
            "index": (dims, index.cpu().numpy().astype("int64"), {"long_name": "cell, -1 without a place"}),
            **variables,
            "flag": (dims, cycles.flag.cpu().numpy().astype("int8"), FLAGS),
            "type": (
                "obs",
                kinds.astype("int8"),
                {"flag_values": list(range(len(sections))), "flag_meanings": names},
            ),
            "offset": ("obs", offsets.astype("int64"), {"long_name": "records from the analysis"}),
        },
        coords={"time": times},
    )


FLAGS = {
    "long_name": "what became of the observation",
    "flag_values": [int(flag) for flag in Flag],
    "flag_meanings": " ".join(flag.name.lower() for flag in Flag),
}
"""Attributes of flags, as CF has them."""


def departures(cycles: Cycles, observations: ObservationSet, step: AssimilateStep) -> pd.DataFrame:
    """Return the statistics of departures after the burn-in, by type and flag."""
    after = slice(min(step.burn_in, len(cycles.record) - 1), None)
    parts = {
        kind.name: Departures(
            value=observations.value[:, after, columns],
            variance=observations.variance[:, after, columns],
            background=cycles.observed_background[:, after, columns],
            analysis=cycles.observed_analysis[:, after, columns],
            spread=cycles.observed_spread[:, after, columns],
            flag=cycles.flag[:, after, columns],
            members=step.method.num_members(),
        )
        for kind, columns in observations.sections()
    }
    return table(parts)


def _figures(cycles: Cycles) -> pd.DataFrame:
    """Return one row an experiment and analysis time."""
    batch, count = cycles.figures["rmse"].shape
    record = np.tile(cycles.record.numpy(), batch)
    sample = np.repeat(np.arange(batch), count)
    figures = {name: torch.as_tensor(values).cpu().numpy().ravel() for name, values in cycles.figures.items()}
    return pd.DataFrame({"sample": sample, "record": record, **figures})
