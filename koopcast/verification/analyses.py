"""Analyses beside the truth: the ensemble after and before each update, at the times of the updates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Int

from koopcast.baselines import BaselineSpec
from koopcast.errors import EmptySelection, ShapeMismatch
from koopcast.fields import FieldData
from koopcast.grids import Window
from koopcast.verification.fields import Setting, Subject, area_weights


@dataclass(frozen=True)
class AnalysisFields:
    """The analyses of a chain of updates, as its artefact holds them.

    `analysis` and `background` have one variable a channel with dims `(sample, member, time, *space)`,
    `sample` being `sample * repeat` of the truth, repeats fastest, and `member` of size 1 where only the mean
    was kept.
    """

    analysis: xr.Dataset
    background: xr.Dataset | None = None
    observations: xr.Dataset | None = None
    """`value` with dims `(sample, time, obs)`: a time with a value is an analysis time; without, all are."""
    burn_in: int = 0
    """Analysis times that are left out of scores."""
    truth: FieldData | None = None
    """Default: the data that forecasts are verified on."""
    card: Mapping[str, float] = field(default_factory=dict)
    """Numbers that its departures make: `chi_square`, `desroziers`."""


def analysis_times(fields: AnalysisFields) -> Int[np.ndarray, " time"]:
    """Return the places of the times that count: observed, and after the burn-in.

    Raises:
        EmptySelection: Nothing is left.
    """
    places = np.arange(fields.analysis.sizes["time"])
    if fields.observations is not None:
        observed = fields.observations["value"].notnull().any(["sample", "obs"]).values
        places = places[observed[: len(places)]]
    if len(places) <= fields.burn_in:
        raise EmptySelection(
            f"{len(places)} analysis times leave nothing after a burn-in of {fields.burn_in}",
            "lower `burn_in`",
        )
    return np.asarray(places[fields.burn_in :])


def setting(fields: AnalysisFields, truth: FieldData, climatology: BaselineSpec) -> Setting:
    """Return the truth and its climatology at the times of the analyses; one lead, 0."""
    records = _records(fields, truth)
    span = Window(truth.view.samples, (int(records.min()), int(records.max()) + 1))
    within = torch.from_numpy(records - span.times[0])
    repeats = _repeats(fields, truth)
    valid = replace(truth, window=span).valid()
    valid = valid[:, within] if valid.shape[1] > 1 else valid.expand(-1, len(within), *valid.shape[2:])
    frames = truth.tensor(window=span)[:, within].repeat_interleave(repeats, dim=0)
    expected = climatology.forecast(truth, records.tolist(), [0]).repeat_interleave(repeats, dim=0)
    return Setting(
        info=truth.info,
        units=dict(truth.info.variables),
        truth=frames[:, :, None],
        valid=valid[:, :, None],
        leads=(0,),
        climatology=expected,
        area=area_weights(truth),
    )


def subjects(name: str, fields: AnalysisFields, truth: FieldData) -> Iterator[Subject]:
    """Yield the analysis, and its background as `<name>.background`."""
    yield replace(_subject(name, fields.analysis, fields, truth), card=fields.card)
    if fields.background is not None:
        yield _subject(f"{name}.background", fields.background, fields, truth)


def _subject(name: str, dataset: xr.Dataset, fields: AnalysisFields, truth: FieldData) -> Subject:
    chosen = dataset.isel(time=analysis_times(fields))
    channels = [torch.from_numpy(np.asarray(chosen[variable].values)) for variable in truth.info.variables]
    members = torch.stack(channels, dim=-1)[:, :, :, None]
    return Subject(name, members.mean(dim=1), members if members.shape[1] > 1 else None)


def _repeats(fields: AnalysisFields, truth: FieldData) -> int:
    analysed, known = fields.analysis.sizes["sample"], truth.view.num_samples
    if analysed % known:
        raise ShapeMismatch(
            f"{analysed} analysed samples are no multiple of the {known} samples of the truth",
            "evaluate the analysis on the data that it was made of",
        )
    return analysed // known


def _records(fields: AnalysisFields, truth: FieldData) -> Int[np.ndarray, " time"]:
    """Return the absolute record of each analysis time that counts."""
    times = fields.analysis["time"].isel(time=analysis_times(fields)).values
    records = pd.Index(truth.dataset["time"].values).get_indexer(pd.Index(times))
    if (records < 0).any():
        missing = times[records < 0][0]
        raise ShapeMismatch(
            f"the truth has no record at analysis time {missing}",
            "evaluate the analysis on the data that it was made of",
        )
    return np.asarray(records)
