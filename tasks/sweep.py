"""The table of a sweep: one row a point, and the optimum of each subject."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from koopcast.stores import Artefact, Store
from koopcast.stores.files import read_table, write_json, write_table
from koopcast.tuning import best, means
from schemas.expect import column
from schemas.keys import canonical_json
from schemas.optimum import axes_of, subject_name
from schemas.plan import Planned
from schemas.points import At, Points
from schemas.sweep import BEST
from schemas.version import versions
from tasks.scores import SWEPT, Scores, read_scores

POINTS, OPTIMA, OPTIONS = "points.parquet", "optima.parquet", "best.yaml"
SEED = "seed"


@dataclass(frozen=True)
class Row:
    """What became of one point."""

    planned: Planned
    state: str
    message: str


def gather(name: str, rows: Sequence[Row], points: Points, store: Store) -> Artefact:
    """Publish the scores of all points of step `name`, and their optimum; lost points are rows too."""
    key = _key(name, rows, points)
    with store.produce("scores", key) as slot:
        if slot.existing is not None:
            return slot.existing
        scores = {row.planned.name: _scores(row, store) for row in rows if row.state == "done"}
        table = _table(rows, scores, points)
        optima = list(_optima(name, table, [row.planned.at or At() for row in rows], points))
        write_table(slot.path / POINTS, table)
        write_table(slot.path / OPTIMA, _as_table(optima, points))
        write_json(slot.path / SWEPT, _together(name, table, optima, points))
        (slot.path / OPTIONS).write_text(_options(optima, points), encoding="utf-8")
        return slot.publish(
            inputs={row.planned.name: row.planned.key for row in rows if row.state == "done"},
            facts={"step": name},
        )


def read_points(artefact: Artefact) -> pd.DataFrame:
    """Return one row a point: the axes, `seed`, `state`, `message`, `key`, and each score."""
    return read_table(artefact.file(POINTS))


def read_optima(artefact: Artefact) -> pd.DataFrame:
    """Return one row a subject (and value of `per`): the axes, mean, half width of its interval, seeds."""
    return read_table(artefact.file(OPTIMA))


def read_options(artefact: Artefact) -> str:
    """Return the best options as YAML."""
    return artefact.file(OPTIONS).read_text(encoding="utf-8")


def objective(subject: str, rows: Sequence[Row], points: Points, store: Store) -> float:
    """Return the mean over repetitions of what a search goes by; NaN where one was lost."""
    place = column("lead", points.sweep.lead)
    values = []
    for row in rows:
        found = _scores(row, store).get(points.sweep.metric, {}) if row.state == "done" else {}
        values.append(_value(found.get(subject, {}), place))
    return sum(values) / len(values) if values else math.nan


def _value(places: Mapping[str, float], place: str) -> float:
    """Return the score at a place; at the first there is where none was named."""
    if place == "all" and place not in places:
        return next(iter(places.values()), math.nan)
    return places.get(place, math.nan)


def _key(name: str, rows: Sequence[Row], points: Points) -> str:
    parts = {
        "step": name,
        "sweep": points.sweep.model_dump(mode="json"),
        "rows": {row.planned.name: [row.planned.key, row.state, row.message] for row in rows},
        "code": versions(["tasks.sweep", "koopcast.tuning", "schemas.optimum"]),
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _scores(row: Row, store: Store) -> Scores:
    return read_scores(store.get(row.planned.kind, row.planned.key))


def _table(rows: Sequence[Row], scores: Mapping[str, Scores], points: Points) -> pd.DataFrame:
    """Return one row a point; an axis that does not reach the step is no column."""
    return pd.DataFrame([_record(row, scores.get(row.planned.name, {}), points) for row in rows])


def _record(row: Row, scores: Scores, points: Points) -> dict[str, Any]:
    at = row.planned.at or At()
    record: dict[str, Any] = {points.names[path]: _plain(at.value(path)) for path, _ in at.values}
    record |= {SEED: at.repetition, "state": row.state, "message": row.message, "key": row.planned.key[:12]}
    for metric, subjects in scores.items():
        for subject, places in subjects.items():
            for place, value in places.items():
                record[_column(metric, subject, place)] = value
    return record


def _column(metric: str, subject: str, place: str) -> str:
    if place == "all":
        return f"{metric}({subject})"
    return f"{metric}({subject}, {place if '=' in place else f'lead={place}'})"


def _plain(value: Any) -> Any:
    """Return a value that a table can hold: a block of options as its text."""
    return value if isinstance(value, (int, float, str, bool)) else json.dumps(value)


@dataclass(frozen=True)
class Optimum:
    """The best of one subject: over all, or at one value of `per`."""

    subject: str
    score: str
    """Column of the table of points."""
    size: int | None
    at: At
    mean: float
    half_width: float
    seeds: int
    lost: int


def _subjects(table: pd.DataFrame, metric: str) -> dict[str, list[str]]:
    """Return subject -> places at which the metric scores it."""
    found: dict[str, list[str]] = {}
    for name in table.columns:
        if name.startswith(f"{metric}(") and name.endswith(")"):
            subject, _, place = name[len(metric) + 1 : -1].partition(", ")
            found.setdefault(subject, []).append(place.removeprefix("lead=") or "all")
    return found


def _optima(name: str, table: pd.DataFrame, places: Sequence[At], points: Points) -> Iterator[Optimum]:
    sweep, lead = points.sweep, column("lead", points.sweep.lead)
    for subject, leads in _subjects(table, sweep.metric).items():
        axes = axes_of(subject, name, points)
        if not axes:
            continue
        score = _column(sweep.metric, subject, lead if lead in leads else leads[0])
        rows = means(table, [points.names[path] for path in axes], score)
        sizes = points.sweep.values(sweep.per) if sweep.per in axes else []
        for size in [None, *sizes]:
            chosen = rows if size is None else rows[rows[points.names[str(sweep.per)]] == size]
            if (found := best(chosen, sweep.sign)) is None:
                continue
            row: dict[str, Any] = dict(rows.loc[found])
            is_here = pd.Series(True, index=table.index)
            for path in axes:
                is_here &= table[points.names[path]] == row[points.names[path]]
            at = places[int(is_here.to_numpy().argmax())].on(axes, repeated=False)
            mean, width = float(row["mean"]), float(row["half_width"])
            yield Optimum(subject, score, size, at, mean, width, int(row["seeds"]), int(row["lost"]))


def _as_table(optima: Sequence[Optimum], points: Points) -> pd.DataFrame:
    records = []
    for one in optima:
        record: dict[str, Any] = {"subject": f"{one.subject}.{BEST}", "per": one.size}
        record |= {points.names[path]: text.strip('"') for path, text in one.at.values}
        record |= {"score": one.score, "mean": one.mean, "half_width": one.half_width}
        records.append(record | {"seeds": one.seeds, "lost": one.lost})
    names = ["subject", "per", "score", "mean", "half_width", "seeds", "lost"]
    axes = [name for name in points.names.values() if any(name in record for record in records)]
    table = pd.DataFrame(records, columns=[*names[:2], *axes, *names[2:]])
    return table.astype({"per": "Int64"})


def _together(name: str, table: pd.DataFrame, optima: Sequence[Optimum], points: Points) -> Scores:
    """Return the scores as conditions name them: at the optimum, or a mean of what does not vary."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    metrics = dict.fromkeys(column.partition("(")[0] for column in table.columns if column.endswith(")"))
    for metric in metrics:
        for subject, places in _subjects(table, metric).items():
            found = result.setdefault(metric, {}).setdefault(subject_name(subject, name, points), {})
            for place in places:
                score = _column(metric, subject, place)
                if not axes_of(subject, name, points):
                    found[place] = _number(table[score].mean())
                for one in optima if axes_of(subject, name, points) else ():
                    if one.subject == subject and (one.size is None or place == places[0]):
                        found[place if one.size is None else column("n", one.size)] = _number(
                            table.loc[_is_at(table, one.at, points), score].mean()
                        )
    return result


def _is_at(table: pd.DataFrame, at: At, points: Points) -> "pd.Series[bool]":
    chosen = pd.Series(True, index=table.index)
    for path, _ in at.values:
        chosen &= table[points.names[path]] == _plain(at.value(path))
    return chosen


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _options(optima: Sequence[Optimum], points: Points) -> str:
    """Return the best options of all subjects as YAML to lay over the file; those of sizes as comments."""
    found, told = [one for one in optima if not one.subject.endswith(".background")], []
    best: dict[str, Any] = {}
    for one in found:
        interval = f" ± {one.half_width:.2g}" if math.isfinite(one.half_width) else ""
        where = "" if one.size is None else f", n={one.size}"
        values = ", ".join(f"{path}={text}" for path, text in one.at.values)
        score = f"{one.score} = {one.mean:.4g}{interval}, {one.seeds} seeds"
        told.append(f"# {one.subject}{where}: {score}: {values}\n")
        if one.size is None:
            best = _laid_over(best, points.overlay(one.at))
    return "".join(told) + yaml.safe_dump(best, sort_keys=False)


def _laid_over(upper: dict[str, Any], lower: dict[str, Any]) -> dict[str, Any]:
    """Return two documents as one; where both have a value, the upper's counts."""
    both = upper.keys() & lower.keys()
    merged = {
        name: _laid_over(upper[name], lower[name])
        for name in both
        if isinstance(upper[name], dict) and isinstance(lower[name], dict)
    }
    return {**lower, **upper, **merged}
