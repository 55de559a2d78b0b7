"""Scores as one long table, and as the mapping that conditions and JSON read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from koopcast.metrics.base import MetricSpec, Score, Sense, Verification
from koopcast.verification.fields import Setting, Subject

COLUMNS = (
    "metric",
    "subject",
    "role",
    "pairs",
    "variable",
    "lead",
    "value",
    "units",
    "sense",
    "perfect",
    "cases",
)
ALL = "all"
"""Name of the value over all leads, or over all analysis times."""
WORST: Mapping[Sense, float] = {"lower": math.inf, "higher": -math.inf, "target": math.inf}


@dataclass
class Sheet:
    """Rows and curves as they are scored."""

    metrics: Mapping[str, MetricSpec]
    rows: list[tuple[object, ...]]
    curves: dict[str, dict[tuple[str, str], xr.DataArray]]
    """Metric -> (subject, variable) -> the curve of the first set of pairs it was scored on."""

    def add(self, setting: Setting, subject: Subject, role: str, *, leads: bool, pooled: bool) -> None:
        """Score one subject by every metric that applies: row by row of `leads`, and `pooled` over them."""
        for variable, pair in setting.verifications(subject):
            sound = _sound_leads(pair)
            cases = _cases(pair)
            for name, metric in self.metrics.items():
                if metric.needs_members and pair.members is None:
                    continue
                head = (name, subject.name, role, "forecast" if leads else "analysis", variable)
                score = metric.score(_at(pair, sound)) if sound else None
                if leads:
                    self._lead_rows(head, metric, score, pair, sound, cases)
                if pooled:
                    whole = score is not None and len(sound) == pair.truth.sizes["lead"]
                    value = score.pooled if score is not None and whole else WORST[metric.sense]
                    self._row(head, None, value, metric, score, pair, sum(cases.values()))
                if score is not None and score.curve is not None:
                    self.curves.setdefault(name, {}).setdefault((subject.name, variable), score.curve)

    def _lead_rows(
        self,
        head: tuple[str, ...],
        metric: MetricSpec,
        score: Score | None,
        pair: Verification,
        sound: Sequence[int],
        cases: Mapping[int, int],
    ) -> None:
        for lead in cases:
            is_sound = score is not None and lead in sound
            value = (
                float(score.value.sel(lead=lead)) if score is not None and is_sound else WORST[metric.sense]
            )
            self._row(head, lead, value, metric, score, pair, cases[lead])

    def _row(
        self,
        head: tuple[str, ...],
        lead: int | None,
        value: float,
        metric: MetricSpec,
        score: Score | None,
        pair: Verification,
        cases: int,
    ) -> None:
        units = pair.units if score is None else score.units
        self.rows.append((*head, lead, value, units, metric.sense, metric.perfect, cases))
        if score is None:
            return
        for component, values in score.components.items():
            if lead is not None or values.sizes["lead"] == 1:
                part = float(values.sel(lead=lead)) if lead in values["lead"] else float(values.isel(lead=0))
                name, *rest = head
                self.rows.append((f"{name}.{component}", *rest, lead, part, "1", "target", 0.0, cases))

    def table(self) -> pd.DataFrame:
        """Return the rows; `lead` is missing where a value is over all leads or analysis times."""
        table = pd.DataFrame(self.rows, columns=list(COLUMNS))
        return table.astype({"lead": "Int64", "cases": "Int64", "value": "float64", "perfect": "float64"})

    def curve_dataset(self) -> xr.Dataset:
        """Return each metric's curves, dims `(subject, variable, [source,] lead, ...)`, NaN where there is
        none.
        """
        return xr.Dataset({name: _stacked(curves) for name, curves in self.curves.items()})


def _stacked(curves: Mapping[tuple[str, str], xr.DataArray]) -> xr.DataArray:
    """Return curves along `subject` and `variable`; NaN where a subject has no such lead or abscissa."""
    by_subject: dict[str, list[xr.DataArray]] = {}
    for (subject, variable), curve in curves.items():
        by_subject.setdefault(subject, []).append(curve.expand_dims(subject=[subject], variable=[variable]))
    rows = [_outer(variables, "variable") for variables in by_subject.values()]
    return _outer(rows, "subject")


def _outer(arrays: list[xr.DataArray], dim: str) -> xr.DataArray:
    return xr.concat(arrays, dim, join="outer", combine_attrs="drop_conflicts")


def metric_names(metrics: Sequence[MetricSpec]) -> dict[str, MetricSpec]:
    """Return metrics by name: the kind, and the options that differ from the default where a kind comes
    twice.
    """
    names: dict[str, MetricSpec] = {}
    for metric in metrics:
        chosen = metric.model_dump(exclude_defaults=True, exclude={"kind"})
        longer = ".".join([metric.kind, *(str(value) for value in chosen.values())])
        names[metric.kind if metric.kind not in names else longer] = metric
    return names


def score_mapping(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return `{metric: {subject: {lead or "all": value}}}`.

    With several variables each has its own `metric[variable]`; the plain name is then their mean, and is
    there only where their units agree.
    """
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for metric, rows in table.groupby("metric", sort=False):
        if rows["variable"].nunique() > 1:
            for variable, own in rows.groupby("variable", sort=False):
                scores[f"{metric}[{variable}]"] = _by_subject(own)
        if rows["units"].nunique() == 1:
            scores[str(metric)] = _by_subject(rows)
    return scores


def _by_subject(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = {}
    keys = rows["lead"].map(lambda lead: ALL if pd.isna(lead) else str(lead))
    for (subject, lead), values in rows.groupby([rows["subject"], keys], sort=False)["value"]:
        result.setdefault(str(subject), {})[str(lead)] = float(values.mean())
    return result


def _sound_leads(pair: Verification) -> list[int]:
    """Return the leads at which the subject is finite wherever the truth is."""
    dims = [dim for dim in pair.truth.dims if dim != "lead"]
    subject = pair.forecast if pair.members is None else pair.members
    faulty = (pair.truth.notnull() & ~(abs(subject) < np.inf)).any([*dims, *({"member"} & set(subject.dims))])
    return [int(lead) for lead in pair.truth["lead"].values[~faulty.values]]


def _cases(pair: Verification) -> dict[int, int]:
    """Return how many fields are verified at each lead."""
    counts = pair.truth.notnull().any(pair.space).sum(["sample", "time"])
    return {int(lead): int(count) for lead, count in zip(counts["lead"].values, counts.values, strict=True)}


def _at(pair: Verification, leads: Sequence[int]) -> Verification:
    """Return the same pair at some of its leads."""
    if len(leads) == pair.truth.sizes["lead"]:
        return pair

    def chosen(values: xr.DataArray | None) -> xr.DataArray | None:
        return None if values is None else values.sel(lead=list(leads))

    return replace(
        pair,
        forecast=pair.forecast.sel(lead=list(leads)),
        truth=pair.truth.sel(lead=list(leads)),
        members=chosen(pair.members),
        climatology=chosen(pair.climatology),
    )
