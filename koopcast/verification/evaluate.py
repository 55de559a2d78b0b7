"""Score models and analyses beside baselines, on the same records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import xarray as xr

from koopcast.baselines import BaselineSpec, ClimatologySpec
from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.mapping import Signature
from koopcast.metrics import MetricSpec
from koopcast.models import MapModel, Model
from koopcast.verification import analyses, maps
from koopcast.verification.analyses import AnalysisFields
from koopcast.verification.eigenfunctions import eigenfunctions
from koopcast.verification.examples import analysis_example, forecast_example
from koopcast.verification.fields import Setting, Subject, area_weights, numbers
from koopcast.verification.pairs import Pairs, Starts, expected, forecast, longest_history
from koopcast.verification.sectors import Sector, parts, sector_masks
from koopcast.verification.table import Sheet, metric_names, score_mapping


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    table: pd.DataFrame
    """One row a score: metric, subject, role (`forecast`, `analysis`, `background`, `baseline`, `map`),
    pairs (`forecast`, `analysis` or `map`: the records it was scored on; `model`: it reads the model alone,
    without variable, lead and cases; `analysis in <sector>` of a part of the grid), variable, lead (missing:
    all), value, units, sense, perfect, cases (fields verified)."""
    curves: xr.Dataset
    """One variable a metric that has curves, dims `(subject, variable, [source,] lead, wavenumber |
    rank)`."""
    examples: Mapping[str, xr.Dataset]
    """Subject -> a few of its fields beside the truth."""

    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return `{metric: {subject: {lead or "all": value}}}`."""
        return score_mapping(self.table)


def evaluate(
    subjects: Mapping[str, Dynamics | AnalysisFields],
    data: FieldData,
    baselines: Sequence[BaselineSpec],
    leads: Sequence[int],
    metrics: Sequence[MetricSpec],
    *,
    device: torch.device | None = None,
    starts: Starts = "window",
    sectors: Mapping[str, Sector] | None = None,
) -> Evaluation:
    """Score every subject in the window of `data`, and the baselines on the same records.

    A forecast has a value at each lead, and one over all of them together. An analysis has one value, over
    its analysis times after the burn-in. A baseline has the values of a forecast on the same pairs; where
    there is an analysis, the value over all of a baseline that needs no initial record (climatology) is over
    the times of the first analysis instead. A subject that is not finite where the truth is scores infinity.
    In each of `sectors` it is scored once more, as `<subject>.<sector>`.
    """
    sheet = Sheet(metric_names(metrics), [], {})
    masks = sector_masks(sectors or {}, data)

    def add(setting: Setting, subject: Subject, role: str, *, leads: bool, pooled: bool) -> None:
        for where, part in parts(setting, subject, masks):
            sheet.add(where, part, role, leads=leads, pooled=pooled)

    examples: dict[str, xr.Dataset] = {}
    models = {name: subject for name, subject in subjects.items() if isinstance(subject, Dynamics)}
    chains = {name: subject for name, subject in subjects.items() if isinstance(subject, AnalysisFields)}
    climatology = next((item for item in baselines if isinstance(item, ClimatologySpec)), ClimatologySpec())
    if models:
        pairs = Pairs(data, tuple(sorted(set(leads))), longest_history(list(models.values())), starts)
        setting = _forecast_setting(pairs, climatology)
        for name, model in models.items():
            frames = forecast(model, pairs, device or torch.device("cpu"))
            spectrum = _spectrum(model, data, metrics, device)
            subject = Subject(name, frames, card=numbers(model), spectrum=spectrum)
            add(setting, subject, "forecast", leads=True, pooled=True)
            examples[name] = forecast_example(setting, subject, data)
        for baseline in baselines:
            stays = baseline.uses_start or not chains
            subject = Subject(baseline.kind, expected(baseline, pairs))
            add(setting, subject, "baseline", leads=True, pooled=stays)
    for place, (name, fields) in enumerate(chains.items()):
        truth = fields.truth or data
        setting = analyses.setting(fields, truth, climatology)
        scored = list(analyses.subjects(name, fields, truth))
        for subject, role in zip(scored, ("analysis", "background"), strict=False):
            add(setting, subject, role, leads=False, pooled=True)
        examples[name] = analysis_example(setting, scored[0], (*scored, None)[1], fields, truth)
        for baseline in baselines:
            if place == 0 and not baseline.uses_start:
                add(setting, _timeless(baseline, fields, truth), "baseline", leads=False, pooled=True)
    return Evaluation(sheet.table(), sheet.curve_dataset(), examples)


def evaluate_maps(
    models: Mapping[str, MapModel],
    data: FieldData,
    metrics: Sequence[MetricSpec],
    *,
    device: torch.device | None = None,
) -> Evaluation:
    """Score what maps make of the inputs in the window of `data` against its outputs.

    All models map the same variables to the same ones; each works on the grid of `data`, or says why not.
    """
    sheet = Sheet(metric_names(metrics), [], {})
    examples: dict[str, xr.Dataset] = {}
    settings: dict[Signature, Setting] = {}
    for name, model in models.items():
        signature = model.signature.on(data.info.axes)
        setting = settings.setdefault(signature, maps.setting_of(signature, data))
        subject = maps.predicted(name, model, data, device or torch.device("cpu"))
        sheet.add(setting, subject, "map", leads=False, pooled=True)
        examples[name] = maps.map_example(setting, subject, data)
    return Evaluation(sheet.table(), sheet.curve_dataset(), examples)


def _forecast_setting(pairs: Pairs, climatology: BaselineSpec) -> Setting:
    data = pairs.data
    return Setting(
        info=data.info,
        units=dict(data.info.variables),
        truth=data.tensor()[:, :, None],
        valid=pairs.valid(),
        leads=pairs.leads,
        climatology=expected(climatology, pairs),
        area=area_weights(data),
    )


def _spectrum(
    model: Dynamics, data: FieldData, metrics: Sequence[MetricSpec], device: torch.device | None
) -> xr.Dataset | None:
    """Return what the metrics need of the spectrum."""
    if not isinstance(model, Model) or not any(metric.needs_spectrum for metric in metrics):
        return None
    names = ["eigenvalue_real", "eigenvalue_imag", "residual"]
    diagnostics = model.diagnostics()
    if not set(names) <= set(diagnostics):
        return None
    spectrum = diagnostics[names]
    if any(metric.needs_eigenfunctions for metric in metrics):
        found = eigenfunctions(model, data, device)
        assert found is not None
        spectrum["data_residual"] = ("mode", found["data_residual"].values)
    return spectrum


def _timeless(baseline: BaselineSpec, fields: AnalysisFields, truth: FieldData) -> Subject:
    """Return a baseline that needs no initial record, at the times of the analyses."""
    frames = analyses.setting(fields, truth, baseline).climatology
    assert frames is not None
    return Subject(baseline.kind, frames)
