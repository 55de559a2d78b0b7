"""A run: carry out the plan step by step, gate on the scores, report; the same for both engines."""

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from flows import lock
from flows.display import Display, duration
from flows.engines import Engine, Handle, Skipped
from flows.memory import Rates
from flows.prepare import Prepared, job
from flows.request import Gate, RunResult, StepResult, finite
from koopcast.errors import KoopcastError
from koopcast.stores import Run, StepRecord
from schemas.expect import parse
from schemas.plan import Planned
from schemas.stages import GatedStep
from tasks.ending import Ending, StepFacts
from tasks.report import write_report
from tasks.scores import Scores, read_scores

TRACES = "failures.log"


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
            steps = _Steps(prepared, engine, display, run).carry_out()
        scores, gates = _gate(prepared, steps)
        state = _state(steps, gates)
        result = RunResult(run=run.name, state=state, steps=steps, scores=finite(scores), expect=gates)
        page = write_report(plan, store, run, _ending(prepared, result))
        result = result.model_copy(update={"report": str(page)})
        run.write("run.json", result.model_dump_json(indent=1) + "\n")
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
    steps: Mapping[str, StepResult], gates: list[Gate]
) -> Literal["done", "failed", "expectation_failed"]:
    if any(step.state == "failed" for step in steps.values()):
        return "failed"
    return "done" if all(gate.holds for gate in gates) else "expectation_failed"


class _Steps:
    """Submits steps in order and settles each as it ends."""

    def __init__(self, prepared: Prepared, engine: Engine, display: Display, run: Run) -> None:
        self._prepared, self._engine, self._display, self._run = prepared, engine, display, run
        self._rates = Rates(prepared.store)
        self._results: dict[str, StepResult] = {}

    def carry_out(self) -> dict[str, StepResult]:
        """Return what became of each step, in the order of the plan."""
        handles: dict[str, Handle] = {}
        for planned in self._prepared.plan.steps:
            if self._prepared.decisions[planned.name].action == "skip":
                self._results[planned.name] = StepResult(
                    key=planned.key, state="skipped", message="not chosen"
                )
                continue
            after = [handles[name] for name in planned.needs if name in handles]
            handles[planned.name] = self._engine.submit(job(self._prepared, planned), after, self._display)
            if self._engine.is_immediate:
                self._settle(planned, handles[planned.name])
        for planned in self._prepared.plan.steps:
            if planned.name not in self._results:
                self._settle(planned, handles[planned.name])
        return {step.name: self._results[step.name] for step in self._prepared.plan.steps}

    def _settle(self, planned: Planned, handle: Handle) -> None:
        try:
            outcome = handle.result()
        except Skipped as reason:
            self._fail(planned, "skipped", str(reason))
        except KoopcastError as error:
            self._fail(planned, "failed", str(error), error)
        except (
            Exception
        ) as error:  # a fault of ours or of the machine: the run ends in order, the trace is kept
            self._fail(planned, "failed", f"{type(error).__name__}: {error}", error)
        else:
            self._results[planned.name] = StepResult(
                key=planned.key,
                state="done",
                cached=outcome.cached,
                seconds=outcome.seconds,
                artefact=str(self._prepared.store.artefacts / outcome.ref.name),
            )
            self._note(
                planned, "done", digest=outcome.ref.digest, cached=outcome.cached, seconds=outcome.seconds
            )
            detail = f"{duration(outcome.seconds):>8}  {outcome.ref.name[:28]}"
            self._display.finish(planned.name, "cached" if outcome.cached else "done", detail)
            if planned.cost is not None and not outcome.cached:
                today = f"{datetime.now(UTC):%Y-%m-%d}"
                self._rates.learn(planned.cost.rate, planned.cost.work, outcome.seconds, today)

    def _fail(self, planned: Planned, state: str, message: str, error: Exception | None = None) -> None:
        place = self._prepared.plan.loaded.fault(("steps", planned.name), message) if error else message
        self._results[planned.name] = StepResult.model_validate(
            {"key": planned.key, "state": state, "message": str(place)}
        )
        self._note(planned, "failed" if error else "pending", message=message)
        self._display.finish(planned.name, state, str(place))
        if error is not None:
            trace = "".join(traceback.format_exception(error))
            self._run.write(TRACES, f"step '{planned.name}'\n{trace}\n")

    def _note(self, planned: Planned, state: str, **changes: object) -> None:
        record = {"kind": planned.kind, "key": planned.key, "state": state, **changes}
        self._run.set_step(planned.name, StepRecord.model_validate(record))


def _gate(prepared: Prepared, steps: Mapping[str, StepResult]) -> tuple[Scores, list[Gate]]:
    """Return the scores of all steps that have some together, and what became of their conditions."""
    found: dict[str, Scores] = {}
    gates: list[Gate] = []
    for planned in prepared.plan.steps:
        if not isinstance(planned.step, GatedStep) or steps[planned.name].state != "done":
            continue
        artefact = prepared.store.find(planned.kind, planned.key)
        assert artefact is not None
        found[planned.name] = read_scores(artefact)
        for text in planned.step.expect:
            outcome = parse(text).outcome(found[planned.name])
            gates.append(Gate(step=planned.name, text=text, holds=outcome.holds, value=outcome.value))
    return _together(found), gates


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
