"""Scores as one long table, and as the mapping that conditions and JSON read."""

import math
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class Scored:
    """What one metric says of one variable of one subject."""

    head: tuple[str, ...]
    """Metric, subject, role, pairs, variable."""
    metric: MetricSpec
    score: Score | None
    """None where the subject is finite at no lead."""
    units: str
    sound: Sequence[int]
    """Leads at which the subject is finite."""
    cases: Mapping[int, int]
    """Fields verified at each lead."""

    def by_lead(self) -> Iterator[tuple[object, ...]]:
        """Yield the row of each lead, infinitely bad where the subject is not finite."""
        for lead, cases in self.cases.items():
            is_sound = self.score is not None and lead in self.sound
            value = self.score.value.sel(lead=lead) if self.score and is_sound else WORST[self.metric.sense]
            yield self._row(lead, float(value), cases)
            if self.score and is_sound:
                yield from self._components(self.score.components, lead, lead, cases)

    def over_all(self) -> Iterator[tuple[object, ...]]:
        """Yield the row over all leads; the components too where there is one lead."""
        is_sound = self.score is not None and len(self.sound) == len(self.cases)
        value = self.score.pooled if self.score and is_sound else WORST[self.metric.sense]
        yield self._row(None, value, sum(self.cases.values()))
        if self.score and len(self.sound) == 1:
            yield from self._components(self.score.components, self.sound[0], None, sum(self.cases.values()))

    def _row(self, lead: int | None, value: float, cases: int) -> tuple[object, ...]:
        return (*self.head, lead, value, self.units, self.metric.sense, self.metric.perfect, cases)

    def _components(
        self, components: Mapping[str, xr.DataArray], lead: int, shown: int | None, cases: int
    ) -> Iterator[tuple[object, ...]]:
        metric, *rest = self.head
        for name, values in components.items():
            value = float(values.sel(lead=lead))
            yield (f"{metric}.{name}", *rest, shown, value, "1", "target", 0.0, cases)


@dataclass
class Sheet:
    """Rows and curves as they are scored."""

    metrics: Mapping[str, MetricSpec]
    rows: list[tuple[object, ...]]
    curves: dict[str, dict[tuple[str, str], xr.DataArray]]
    """Metric -> (subject, variable) -> the curve of the first set of pairs it was scored on."""

    def add(self, setting: Setting, subject: Subject, role: str, *, leads: bool, pooled: bool) -> None:
        """Score one subject by every metric that applies: row by row of `leads`, and `pooled` over them."""
        fields = {name: metric for name, metric in self.metrics.items() if not metric.is_of_model}
        for place, (variable, pair) in enumerate(setting.verifications(subject)):
            sound, cases = _sound_leads(pair), _cases(pair)
            if place == 0 and not subject.sector:
                self.rows += self._of_model(pair, subject, role)
            for name, metric in fields.items():
                if metric.needs_members and pair.members is None:
                    continue
                if subject.sector and not metric.is_local:
                    continue
                if metric.needs_spectrum and pair.spectrum is None:
                    continue
                if metric.needs_card is not None and metric.needs_card not in pair.card:
                    continue
                score = metric.score(_at(pair, sound)) if sound else None
                pairs = "map" if role == "map" else "forecast" if leads else "analysis"
                where = f"{pairs} in {subject.sector}" if subject.sector else pairs
                head = (name, subject.name, role, where, variable)
                scored = Scored(head, metric, score, score.units if score else pair.units, sound, cases)
                self.rows += [*(scored.by_lead() if leads else ()), *(scored.over_all() if pooled else ())]
                if score is not None and score.curve is not None and not subject.sector:
                    self.curves.setdefault(name, {}).setdefault((subject.name, variable), score.curve)

    def _of_model(self, pair: Verification, subject: Subject, role: str) -> Iterator[tuple[object, ...]]:
        """Yield the row of each metric that reads the model, where it holds what that needs."""
        for name, metric in self.metrics.items():
            has_card = metric.needs_card is None or metric.needs_card in pair.card
            has_spectrum = not metric.needs_spectrum or pair.spectrum is not None
            if metric.is_of_model and has_card and has_spectrum:
                score = metric.score(pair)
                head = (name, subject.name, role, "model", None, None)
                yield (*head, score.pooled, score.units, metric.sense, metric.perfect, None)

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
    # A coordinate that differs from subject to subject becomes one of the subjects.
    return xr.concat(
        arrays, dim, join="outer", coords="different", compat="equals", combine_attrs="drop_conflicts"
    )


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
