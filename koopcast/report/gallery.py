"""Which figures a run has: the pictures of its evaluations, models and chains of analyses."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import xarray as xr

from koopcast.report import figures
from koopcast.report.clock import Clock
from koopcast.report.content import CyclePart, EvaluationPart, ModelPart, ReportContent
from koopcast.report.studies import study_pictures
from koopcast.report.style import Picture
from koopcast.report.tables import on_whole_grid, without_components

CURVED = ("rmse", "acc", "crps", "spread_skill")
"""Metrics drawn against lead."""


@dataclass(frozen=True)
class Gallery:
    """The pictures of a page by section."""

    forecasts: tuple[Picture, ...] = ()
    maps: tuple[Picture, ...] = ()
    analyses: tuple[Picture, ...] = ()
    studies: tuple[Picture, ...] = ()
    models: tuple[Picture, ...] = ()
    datasets: tuple[Picture, ...] = ()

    def all(self) -> tuple[Picture, ...]:
        """Return every picture once."""
        return self.forecasts + self.maps + self.analyses + self.studies + self.models + self.datasets


def gallery(content: ReportContent) -> Gallery:
    """Return the pictures of a run."""
    forecasts = [picture for name, part in content.evaluations.items() for picture in _forecasts(name, part)]
    analyses = [
        picture
        for name, part in content.chains.items()
        for picture in _cycles(name, part, content.evaluations)
    ]
    analyses += [picture for name, part in content.evaluations.items() for picture in _analyses(name, part)]
    examples = [
        example for evaluation in content.evaluations.values() for example in evaluation.examples.values()
    ]
    models = [picture for name, part in content.models.items() for picture in _models(name, part, examples)]
    studies = [picture for name, table in content.studies.items() for picture in study_pictures(name, table)]
    studies += [
        figures.refinement_curve(rows, str(method), _slug(name, method))
        for name, history in content.refinements.items()
        for method, rows in history.groupby("method", sort=False)
    ]
    maps = [picture for name, part in content.evaluations.items() for picture in _maps(name, part)]
    datasets = tuple(_datasets(content))
    return Gallery(tuple(forecasts), tuple(maps), tuple(analyses), tuple(studies), tuple(models), datasets)


def _datasets(content: ReportContent) -> Iterator[Picture]:
    for name, part in content.datasets.items():
        space = {str(dim) for dim in part.example.dims} - {"sample", "time"}
        if part.example and len(space) in (1, 2):
            yield figures.sample_fields(part.example, name, _slug(name, "fields"))


def _forecasts(step: str, part: EvaluationPart) -> Iterator[Picture]:
    clock = Clock.of(part.time)
    rows = without_components(on_whole_grid(part.table[part.table["lead"].notna()]))
    for (metric, variable), own in rows.groupby(["metric", "variable"], sort=False):
        if str(metric).startswith(CURVED) and own["lead"].nunique() > 1:
            yield figures.error_against_lead(own, clock, _slug(step, metric, variable))
    yield from _spectra(step, part, clock, "forecast")
    for subject, example in part.examples.items():
        if "forecast" in example["source"].values:
            yield from _fields(step, subject, example, clock)
    for subject, values in part.eigenfunctions.items():
        name = _slug(step, subject, "eigenfunctions")
        if picture := figures.eigenfunction_series(values, clock, subject, name):
            yield picture


def _maps(step: str, part: EvaluationPart) -> Iterator[Picture]:
    for subject, example in part.examples.items():
        if "prediction" in example["source"].values:
            yield from _fields(step, subject, example, Clock())
    yield from _spectra(step, part, Clock(), "map")


def _analyses(step: str, part: EvaluationPart) -> Iterator[Picture]:
    clock = Clock.of(part.time)
    for subject, example in part.examples.items():
        if "analysis" in example["source"].values:
            yield from _fields(step, subject, example, clock)
    if "rank_histogram" in part.curves:
        for variable in part.curves["variable"].values:
            curve = part.curves["rank_histogram"].sel(variable=variable)
            yield figures.rank_histograms(curve, _slug(step, "ranks", variable))
    yield from _spectra(step, part, clock, "analysis")


def _fields(step: str, subject: str, example: xr.Dataset, clock: Clock) -> Iterator[Picture]:
    for variable, values in example.data_vars.items():
        if "source" in values.dims:
            space = [dim for dim in values.dims if dim not in ("source", "time", "lead")]
            make = figures.field_maps if len(space) > 1 else figures.space_time
            yield make(example, str(variable), clock, subject, _slug(step, subject, "fields", variable))


def _spectra(step: str, part: EvaluationPart, clock: Clock, role: str) -> Iterator[Picture]:
    if "energy_spectrum" not in part.curves:
        return
    named = part.table.loc[part.table["role"] == role, "subject"].unique()
    curves = part.curves["energy_spectrum"]
    subjects = [str(name) for name in named if name in curves["subject"].values]
    for variable in curves["variable"].values if subjects else ():
        name = _slug(step, role, "spectrum", variable)
        yield figures.energy_spectra(curves.sel(variable=variable), subjects, clock, name)


def _cycles(name: str, part: CyclePart, evaluations: Mapping[str, EvaluationPart]) -> Iterator[Picture]:
    if {"time", "rmse"} <= set(part.cycles.columns) and part.cycles["rmse"].notna().any():
        references = part.references or _levels(name, evaluations)
        yield figures.cycle_series(part.cycles, references, part.units, name, _slug(name, "cycles"))


def _levels(chain: str, evaluations: Mapping[str, EvaluationPart]) -> dict[str, float]:
    """Return the errors of the climatology and of other chains, where they were scored beside this one."""
    for part in evaluations.values():
        table = part.table[(part.table["metric"] == "rmse") & (part.table["pairs"] == "analysis")]
        if (table["subject"] == chain).any() and table["variable"].nunique() == 1:
            others = table[(table["subject"] != chain) & (table["role"] != "background")]
            return {str(row["subject"]): float(row["value"]) for row in others.to_dict("records")}
    return {}


def _models(name: str, part: ModelPart, examples: Sequence[xr.Dataset]) -> Iterator[Picture]:
    clock = Clock.of(part.time)
    if isinstance(part.training, pd.DataFrame) and len(part.training) > 1:
        yield figures.training_curve(part.training, name, _slug(name, "training"))
    if {"eigenvalue_real", "eigenvalue_imag"} <= set(part.diagnostics.data_vars):
        yield figures.unit_circle(part.diagnostics, clock, name, _slug(name, "eigenvalues"))
        if "verified" in part.diagnostics:
            yield figures.residual_plane(part.diagnostics, name, _slug(name, "residuals"))
        if "spectral_density" in part.diagnostics:
            yield figures.spectral_density(part.diagnostics, name, _slug(name, "density"))
        if "mode_field" in part.diagnostics:
            yield figures.mode_maps(_placed(part.diagnostics, examples), clock, name, _slug(name, "modes"))


def _placed(diagnostics: xr.Dataset, examples: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return mode fields with the coordinates of the first example on the same grid, where they have none."""
    for example in examples:
        bare = [dim for dim in diagnostics.dims if dim in example.coords and dim not in diagnostics.coords]
        if bare and all(diagnostics.sizes[dim] == example.sizes[dim] for dim in bare):
            return diagnostics.assign_coords({dim: example[dim] for dim in bare})
    return diagnostics


def _slug(*words: object) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", str(word)).strip("-") for word in words)
