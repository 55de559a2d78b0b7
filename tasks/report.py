"""The page of a run: drawn once for equal results, and kept with the record of each run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import koopcast
from koopcast.stores import Artefact, Run, StepRecord, Store
from schemas.digests import digest
from schemas.keys import canonical_json
from schemas.plan import Plan
from schemas.version import versions as code_versions
from tasks.ending import Ending

PACKAGE = "koopcast.report"
TEMPLATES = Path(koopcast.__file__).parent / "report" / "templates"
KIND, PAGE, FIGURES = "report", "report.html", "figures"
STEP = "(report)"
"""Under which the record of a run names it; no step of a pipeline can have this name."""


def write_report(plan: Plan, store: Store, run: Run, ending: Ending, optima: Mapping[str, Artefact]) -> Path:
    """Write the page of a run into its record, which names the artefact too; return the path of the page."""
    key = _key(plan, ending, optima)
    with store.produce(KIND, key) as slot:
        if slot.existing is None:
            # Drawing takes a second to import, which a run that finds everything done can do without.
            from koopcast import report
            from tasks.page import content

            report.write(content(plan, store, run, ending, optima), slot.path)
            slot.publish(inputs={step.name: step.key for step in plan.steps})
    artefact = store.get(KIND, key)
    ref = artefact.ref
    run.set_step(STEP, StepRecord(kind=KIND, key=key, state="done", digest=ref.digest))
    run.write(PAGE, artefact.file(PAGE).read_text(encoding="utf-8"))
    for figure in sorted(artefact.file(FIGURES).iterdir()):
        run.write(f"{FIGURES}/{figure.name}", figure.read_bytes())
    return run.path / PAGE


def _key(plan: Plan, ending: Ending, optima: Mapping[str, Artefact]) -> str:
    parts = {
        "pipeline": plan.loaded.pipeline.model_dump(mode="json"),
        "keys": {step.name: [step.key, ending.steps[step.name].state] for step in plan.steps},
        "optima": {name: artefact.ref.key for name, artefact in optima.items()},
        "ending": [ending.state, *ending.expectations],
        "code": code_versions([PACKAGE, "tasks.page"]),
        "templates": digest(TEMPLATES),
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
