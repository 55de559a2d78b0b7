"""A run: carry out the plan step by step, gate on the scores, report; the same for both engines."""

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from flows import lock
from flows.display import Display, Silent, duration
from flows.engines import Engine, Handle, Skipped
from flows.memory import Rates
from flows.prepare import Prepared, job
from flows.request import Gate, RunResult, StepResult, finite
from flows.search import search
from koopcast.errors import ComputeError, KoopcastError
from koopcast.redaction import redacted
from koopcast.stores import Artefact, Run, StepRecord
from schemas.batching import batches
from schemas.expect import parse
from schemas.optimum import gated
from schemas.plan import Plan, Planned
from schemas.stages import GatedStep
from tasks.ending import Ending, StepFacts
from tasks.report import write_report
from tasks.scores import Scores, read_scores
from tasks.sweep import OPTIONS, Row, gather, read_options

TRACES, SUMMARY = "failures.log", "run.json"


def carry_out(prepared: Prepared, engine: Engine, display: Display) -> RunResult:
    """Run what the plan says, and leave a record of the run in the store: lock file, summary and report.

    A step that fails stops what depends on it and nothing else. Killed at any moment, the same request goes
    on where this one was.
    """
    plan, store = prepared.plan, prepared.store
    pending = {step.name: StepRecord(kind=step.kind, key=step.key) for step in plan.steps}
    with store.new_run(plan.loaded.pipeline.name, pending) as run:
        run.write(lock.LOCK, lock.text(lock.contents(plan, prepared.request.command)))
        with display.live():
            work = Steps(prepared, engine, display, run)
            work.carry_out(plan.steps)
            plan = replace(plan, steps=(*plan.steps, *search(work)))
            steps, optima = work.results, work.gather(plan)
        prepared = replace(prepared, plan=plan)
        run.write(lock.LOCK, lock.text(lock.contents(plan, prepared.request.command)))
        scores, gates = _gate(prepared, steps)
        state = _state(plan, steps, gates)
        result = RunResult(run=run.name, state=state, steps=steps, scores=finite(scores), expect=gates)
        for name, artefact in optima.items():
            run.write(f"{name}.{OPTIONS}", read_options(artefact))
        page = write_report(plan, store, run, _ending(prepared, result), optima)
        result = result.model_copy(update={"report": str(page)})
        run.write(SUMMARY, result.model_dump_json(indent=1) + "\n")
        run.update(scores=result.scores, notes={"engine": engine.name, "state": state})
        run.finish("failed" if state == "failed" else "done")
    return result


def _ending(prepared: Prepared, result: RunResult) -> Ending:
    steps = {
        name: StepFacts(step.state, step.cached, step.seconds, step.message)
        for name, step in result.steps.items()
    }
    gates = [(_shown(gate, result.expect), gate.holds, gate.value) for gate in result.expect]
    return Ending(result.state, steps, gates, prepared.request.command)


def _shown(gate: Gate, gates: Sequence[Gate]) -> str:
    """Return a condition, with the name of its step where several steps have some."""
    return f"{gate.step}: {gate.text}" if len({other.step for other in gates}) > 1 else gate.text


def _state(
    plan: Plan, steps: Mapping[str, StepResult], gates: list[Gate]
) -> Literal["done", "failed", "expectation_failed"]:
    if any(step.state == "failed" for step in steps.values()) or _all_lost(plan, steps):
        return "failed"
    return "done" if all(gate.holds for gate in gates) else "expectation_failed"


def _all_lost(plan: Plan, steps: Mapping[str, StepResult]) -> bool:
    """Return whether a step of a sweep has no point that is done."""
    states: dict[str, set[str]] = {}
    for planned in plan.steps:
        if planned.at is not None:
            states.setdefault(planned.origin, set()).add(steps[planned.name].state)
    return any("done" not in found and "lost" in found for found in states.values())


class Steps:
    """Submits steps in order and settles each as it ends."""

    def __init__(self, prepared: Prepared, engine: Engine, display: Display, run: Run) -> None:
        self.prepared, self.run = prepared, run
        self._engine, self._display = engine, display
        self._rates = Rates(prepared.store)
        self.results: dict[str, StepResult] = {}
        """What became of each step."""
        self._handles: dict[str, Handle] = {}
        self._shared: set[str] = set()
        """Points that were computed as one batch."""

    def carry_out(self, steps: Sequence[Planned]) -> None:
        """Do steps, given in order, that were not done before."""
        beside = self._beside(steps)
        for planned in steps:
            if self._decision(planned) == "skip":
                self.results[planned.name] = StepResult(
                    key=planned.key, state="skipped", message="not chosen"
                )
                continue
            after = [self._handles[name] for name in planned.needs if name in self._handles]
            one = job(self.prepared, planned, beside.get(planned.name, ()))
            shown = self._display if planned.at is None else Silent()
            self._handles[planned.name] = self._engine.submit(one, after, shown)
            # A batch ends before its other points are asked for: they would be computed twice.
            if self._engine.is_immediate or planned.name in beside:
                self._settle(planned, self._handles[planned.name])
        for planned in steps:
            if planned.name not in self.results:
                self._settle(planned, self._handles[planned.name])

    def say(self, line: str) -> None:
        """Show a line."""
        self._display.say(line)

    def gather(self, plan: Plan) -> dict[str, Artefact]:
        """Return the table of each step with scores that a sweep multiplies; all its points are settled."""
        points, found = plan.loaded.points, dict[str, Artefact]()
        for name in gated(points) if points is not None else ():
            assert points is not None
            rows = self.rows([planned for planned in plan.steps if planned.origin == name])
            if not rows or any(row.state == "skipped" and row.message == "not chosen" for row in rows):
                continue
            artefact = gather(name, rows, points, self.prepared.store)
            seconds = sum(self.results[row.planned.name].seconds for row in rows)
            place = self.prepared.store.address(artefact.ref)
            self.results[name] = StepResult(
                key=artefact.ref.key, state="done", seconds=seconds, artefact=place, message=_counted(rows)
            )
            record = StepRecord(kind="scores", key=artefact.ref.key, state="done", digest=artefact.ref.digest)
            self.run.set_step(name, record)
            self._display.finish(name, "done", _counted(rows))
            found[name] = artefact
        return found

    def rows(self, steps: Sequence[Planned]) -> list[Row]:
        """Return what became of points."""
        return [Row(planned, self.results[planned.name].state, self._why(planned)) for planned in steps]

    def _why(self, planned: Planned) -> str:
        """Return why a point has no result: what it needs may have been lost."""
        for name in planned.needs:
            if name in self.results and self.results[name].state == "lost":
                return self.results[name].message
        return self.results[planned.name].message

    def _decision(self, planned: Planned) -> str:
        decision = self.prepared.decisions.get(planned.name)
        return decision.action if decision is not None else "run"

    def _beside(self, steps: Sequence[Planned]) -> dict[str, tuple[Planned, ...]]:
        """Return the point with which each batch begins, and the others of it."""
        missing = [
            planned
            for planned in steps
            if self._decision(planned) == "run" and planned.name not in self.prepared.forced
        ]
        together = [batch for batch in batches(missing) if len(batch) > 1]
        self._shared |= {planned.name for batch in together for planned in batch}
        return {batch[0].name: batch[1:] for batch in together}

    def _settle(self, planned: Planned, handle: Handle) -> None:
        try:
            outcome = handle.result()
        except Skipped as reason:
            self._fail(planned, "skipped", str(reason))
        except KoopcastError as error:
            is_lost = planned.at is not None and isinstance(error, ComputeError)
            self._fail(planned, "lost" if is_lost else "failed", str(error), error)
        except (
            Exception
        ) as error:  # a fault of ours or of the machine: the run ends in order, the trace is kept
            self._fail(planned, "failed", f"{type(error).__name__}: {error}", error)
        else:
            is_cached = outcome.cached and planned.name not in self._shared
            self.results[planned.name] = StepResult(
                key=planned.key,
                state="done",
                cached=is_cached,
                seconds=outcome.seconds,
                artefact=self.prepared.store.address(outcome.ref),
            )
            self._note(planned, "done", digest=outcome.ref.digest, cached=is_cached, seconds=outcome.seconds)
            detail = f"{duration(outcome.seconds):>8}  {outcome.ref.name[:28]}"
            if planned.at is None:
                self._display.finish(planned.name, "cached" if is_cached else "done", detail)
            if planned.cost is not None and not outcome.cached:
                today = f"{datetime.now(UTC):%Y-%m-%d}"
                self._rates.learn(planned.cost.rate, planned.cost.work, outcome.seconds, today)

    def _fail(self, planned: Planned, state: str, message: str, error: Exception | None = None) -> None:
        message = redacted(message)
        place = self.prepared.plan.loaded.fault(("steps", planned.origin), message) if error else message
        self.results[planned.name] = StepResult.model_validate(
            {"key": planned.key, "state": state, "message": str(place)}
        )
        self._note(planned, "failed" if error else "pending", message=message)
        if planned.at is None or error is not None:
            self._display.finish(planned.name, state, str(place))
        if error is not None:
            trace = redacted("".join(traceback.format_exception(error)))
            self.run.write(TRACES, f"step '{planned.name}'\n{trace}\n")

    def _note(self, planned: Planned, state: str, **changes: object) -> None:
        record = {"kind": planned.kind, "key": planned.key, "state": state, **changes}
        self.run.set_step(planned.name, StepRecord.model_validate(record))


def _gate(prepared: Prepared, steps: Mapping[str, StepResult]) -> tuple[Scores, list[Gate]]:
    """Return the scores of all steps that have some together, and what became of their conditions."""
    found: dict[str, Scores] = {}
    gates: list[Gate] = []
    for name, step in prepared.plan.loaded.pipeline.steps.items():
        if not isinstance(step, GatedStep) or name not in steps or steps[name].state != "done":
            continue
        found[name] = read_scores(prepared.store.get(step.yields.noun, steps[name].key))
        for text in step.expect:
            outcome = parse(text).outcome(found[name])
            gates.append(Gate(step=name, text=text, holds=outcome.holds, value=outcome.value))
    return _together(found), gates


def _counted(rows: Sequence[Row]) -> str:
    """Return how many points there are, and how many were lost."""
    lost = sum(row.state != "done" for row in rows)
    return f"{len(rows)} points" + (f", {lost} of them lost" if lost else "")


def _together(found: Mapping[str, Scores]) -> Scores:
    """Return the scores of all steps in one table; what two of them score has the step's name in front."""
    times = Counter(
        (metric, subject) for table in found.values() for metric, row in table.items() for subject in row
    )
    scores: Scores = {}
    for step, table in found.items():
        for metric, row in table.items():
            for subject, values in row.items():
                name = f"{step}.{subject}" if times[metric, subject] > 1 else subject
                scores.setdefault(metric, {})[name] = values
    return scores
