"""What the page of a run shows, read from the artefacts of its steps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import xarray as xr
import yaml

from koopcast.learned import MODEL_CARD
from koopcast.report import (
    CyclePart,
    EvaluationPart,
    ExpectationRow,
    ModelPart,
    ReportContent,
    StepRow,
    SweepPart,
)
from koopcast.stores import Artefact, Run, Store
from koopcast.stores.arrays import open_fields
from koopcast.stores.files import open_data, read_json, read_table
from schemas.drawing import to_svg
from schemas.graph import graph_of
from schemas.plan import Plan, Planned
from schemas.stages import EvaluateStep, InvertStep, RefineStep, StudyStep
from tasks.assimilate import CYCLES, DEPARTURES
from tasks.ending import Ending, StepFacts
from tasks.environment import hardware, versions
from tasks.evaluate import CURVES, EIGENFUNCTIONS, EXAMPLES, SCORES
from tasks.examples import data_part
from tasks.refine import HISTORY as REFINEMENTS
from tasks.study import FINDINGS
from tasks.sweep import read_optima, read_options, read_points
from tasks.train import DIAGNOSTICS, TRAINING

STATES: dict[str, Literal["completed", "failed", "expectations not held"]] = {
    "done": "completed",
    "failed": "failed",
    "expectation_failed": "expectations not held",
}
"""How a run ended -> what its page says."""


def content(
    plan: Plan, store: Store, run: Run, ending: Ending, optima: Mapping[str, Artefact]
) -> ReportContent:
    """Return what is known of a run; `optima` are the tables of what a sweep multiplied."""
    pipeline = plan.loaded.pipeline
    every = {step.name: store.find(step.kind, step.key) for step in plan.steps}
    made = {step.name: every[step.name] for step in plan.steps if step.at is None}
    done = [
        (step, store.load(artefact.ref))
        for step in plan.steps
        if (artefact := made.get(step.name)) is not None
    ]
    return ReportContent(
        name=pipeline.name,
        state=STATES[ending.state],
        summary=" ".join(pipeline.description.split()),
        run=run.name,
        finished=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        seconds=sum(artefact.manifest.timings["total"] for artefact in every.values() if artefact),
        expectations=[
            ExpectationRow(text, holds, "no value" if value is None else f"{value:.4g}")
            for text, holds, value in ending.expectations
        ],
        steps=[*_rows(plan, ending)],
        graph_svg=to_svg(graph_of(plan.loaded)),
        evaluations={
            step.name: _evaluation(step, artefact)
            for step, artefact in done
            if isinstance(step.step, EvaluateStep)
        },
        datasets={
            step.name: data_part(open_data(artefact.path))
            for step, artefact in done
            if step.kind == "dataset"
        },
        studies={
            step.name: read_table(artefact.file(FINDINGS))
            for step, artefact in done
            if isinstance(step.step, (InvertStep, RefineStep, StudyStep))
        },
        refinements={
            step.name: read_table(artefact.file(REFINEMENTS))
            for step, artefact in done
            if isinstance(step.step, RefineStep)
        },
        sweeps={
            name: SweepPart(read_optima(table), read_points(table), read_options(table))
            for name, table in optima.items()
        },
        models={step.name: _model(step, artefact) for step, artefact in done if step.kind == "model"},
        chains={step.name: _chain(step, artefact) for step, artefact in done if step.kind == "analysis"},
        warnings=[f"{name}: {step.message}" for name, step in ending.steps.items() if step.state == "failed"],
        attributions=_attributions(artefact for step, artefact in done if step.kind == "dataset"),
        versions=versions(),
        hardware=", ".join(f"{value}" for value in hardware().values() if value),
        yaml=yaml.safe_dump(plan.loaded.raw, sort_keys=False, allow_unicode=True),
        reproduce=[ending.command],
    )


def _rows(plan: Plan, ending: Ending) -> Iterator[StepRow]:
    """Yield a row a step; the points of one are a row together."""
    points: dict[str, list[Planned]] = {}
    for step in plan.steps:
        points.setdefault(step.origin, []).append(step)
    for name, steps in points.items():
        if steps[0].at is None:
            yield _row(steps[0], ending.steps[name])
        else:
            yield _together(name, steps, ending)


def _together(name: str, steps: Sequence[Planned], ending: Ending) -> StepRow:
    facts = [ending.steps[step.name] for step in steps]
    done = [one for one in facts if one.state == "done"]
    state = "cached" if done and all(one.cached for one in facts) else "completed" if done else "failed"
    lost = f", {len(facts) - len(done)} lost" if len(done) < len(facts) else ""
    return StepRow(
        name=name,
        task=steps[0].components["task"],
        state=state,
        seconds=sum(one.seconds for one in done),
        summary=f"{len(facts)} points{lost}",
    )


def _row(step: Planned, facts: StepFacts) -> StepRow:
    state = "cached" if facts.cached else {"done": "completed"}.get(facts.state, facts.state)
    return StepRow(
        name=step.name,
        task=step.components["task"],
        state=state,
        seconds=facts.seconds if facts.state == "done" else None,
        key=step.key,
        summary=facts.message,
        after=step.needs,
    )


def _evaluation(step: Planned, artefact: Artefact) -> EvaluationPart:
    curves = artefact.path / CURVES
    examples, values = artefact.path / EXAMPLES, artefact.path / EIGENFUNCTIONS
    return EvaluationPart(
        table=read_table(artefact.file(SCORES)),
        curves=open_fields(curves).load() if curves.is_dir() else xr.Dataset(),
        examples={group: open_fields(examples, group=group).load() for group in _groups(examples)},
        eigenfunctions={group: open_fields(values, group=group) for group in _groups(values)},
        time=step.contract.fields.time if step.contract else None,
    )


def _groups(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if path.is_dir()) if store.is_dir() else []


def _model(step: Planned, artefact: Artefact) -> ModelPart:
    diagnostics, training = artefact.path / DIAGNOSTICS, artefact.path / TRAINING
    return ModelPart(
        card=read_json(artefact.file(MODEL_CARD))["card"],
        diagnostics=open_fields(diagnostics).load() if diagnostics.is_dir() else xr.Dataset(),
        training=read_table(training) if training.is_file() else None,
        time=step.contract.fields.time if step.contract else None,
    )


def _chain(step: Planned, artefact: Artefact) -> CyclePart:
    cycles = read_table(artefact.file(CYCLES)).rename(columns={"record": "time"})
    units = next(iter(step.contract.fields.variables.values())) if step.contract else "1"
    return CyclePart(cycles=cycles, units=units, departures=read_table(artefact.file(DEPARTURES)))


def _attributions(datasets: Iterable[Artefact]) -> list[str]:
    """Return what the datasets say of their owners, each once."""
    found = []
    for artefact in datasets:
        attributes = open_fields(artefact.path / "fields.zarr").attrs
        found.append(
            " ".join(str(attributes[name]) for name in ("institution", "licence") if attributes.get(name))
        )
    return sorted({text for text in found if text})
