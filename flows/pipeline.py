"""The Prefect flow `pipeline`: the plan of a YAML file as typed tasks, one a stage."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import UnfinishedRun
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.display import Display, Silent
from flows.engines import Handle, Skipped, announced
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out
from koopcast.errors import EngineError, KoopcastError
from koopcast.progress import Listener
from koopcast.progress import Progress as Report
from koopcast.redaction import redact_logs
from schemas.pipeline import DaskRunner, ThreadsRunner
from tasks.job import Job, Outcome
from tasks.perform import STAGES

LOCAL_WORKERS = 2
"""Processes of a local Dask cluster."""

_display: ContextVar[Display | None] = ContextVar("koopcast_display", default=None)
_summary: ContextVar[dict[str, Any] | None] = ContextVar("koopcast_summary", default=None)
"""Takes the result of a flow that was called in this process: a failed state carries its message alone."""


class _LogDisplay(Silent):
    """Progress as log lines of the task run: what the server's pages show of a deployed run."""

    def listener(self, step: str) -> Listener:
        """Return a listener that logs each tenth of the way."""
        logger, tenths = get_run_logger(), -1

        def hear(report: Report) -> None:
            nonlocal tenths
            if 10 * report.done // max(report.total, 1) > tenths:
                tenths = 10 * report.done // max(report.total, 1)
                logger.info("%s %d/%d %s", report.unit, report.done, report.total, report.figures)

        return hear


def run_stage(job: Job) -> State[Outcome]:
    """Carry out one step; its result is a reference, its state says whether the store had it already."""
    outcome = announced(job, _display.get() or _LogDisplay())
    name = "Cached" if outcome.cached else "Completed"
    return Completed(name=name, message=f"{job.kind} {job.key[:12]}", data=outcome)


def _is_worth_retrying(_task: Task[..., Any], _run: Any, state: State[Any]) -> bool:
    """Try again after a failure of the machine, never after input that would fail again."""
    return not isinstance(state.result(raise_on_failure=False), KoopcastError)


STAGE_TASKS: dict[str, Task[[Job], State[Outcome]]] = {
    stage: task(
        name=stage,
        task_run_name="{job.name}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retry_condition_fn=_is_worth_retrying,
    )(run_stage)
    for stage in STAGES
}


class _Submitted:
    """The handle of a step that a task runner holds."""

    def __init__(self, job: Job, future: PrefectFuture[Any]) -> None:
        self._job = job
        self.future = future

    def result(self) -> Outcome:
        """Wait for the task run."""
        try:
            outcome = self.future.result()
        except UnfinishedRun as error:
            raise Skipped(f"'{self._job.name}' needs a step that failed") from error
        if not isinstance(outcome, Outcome):
            raise EngineError(
                f"the task of '{self._job.name}' returned {type(outcome).__name__}", "see its log"
            )
        return outcome


class PrefectEngine:
    """Submits each job as a task run; steps that do not depend on one another run side by side."""

    name = "prefect"
    is_immediate = False

    def __init__(self, runner: TaskRunner[Any]) -> None:
        self._runner = runner

    def submit(self, job: Job, after: Sequence[Handle], display: Display) -> Handle:
        """Submit the task of the job's stage, to start when the futures of `after` are done."""
        stage = STAGE_TASKS[job.step.task].with_options(retries=job.step.retries)
        futures = [handle.future for handle in after if isinstance(handle, _Submitted)]
        return _Submitted(job, self._runner.submit(stage, {"job": job}, wait_for=futures))


@contextmanager
def _task_runner(spec: ThreadsRunner | DaskRunner) -> Iterator[TaskRunner[Any]]:
    """Start the runner that the pipeline names."""
    if isinstance(spec, ThreadsRunner):
        with ThreadPoolTaskRunner[Any](max_workers=spec.workers) as threads:
            yield threads
        return
    from prefect_dask.task_runners import DaskTaskRunner

    local = {
        "n_workers": spec.workers or LOCAL_WORKERS,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": None,
        "silence_logs": "ERROR",
    }
    address = spec.address
    with DaskTaskRunner(address=address) if address else DaskTaskRunner(cluster_kwargs=local) as dask:
        yield dask


def call(request: Request, display: Display) -> RunResult:
    """Run the flow in this process and return its summary, also that of a run that failed."""
    summary: dict[str, Any] = {}
    shown, kept = _display.set(display), _summary.set(summary)
    try:
        pipeline(**request.model_dump(), return_state=True).result(raise_on_failure=False)
    finally:
        _display.reset(shown)
        _summary.reset(kept)
    if "error" in summary:
        raise summary["error"]
    return RunResult.model_validate(summary["result"])


def _run_name() -> str:
    return str(flow_run.parameters["pipeline"]).rsplit("/", 1)[-1].removesuffix(".yaml")


@flow(name="pipeline", flow_run_name=_run_name, persist_result=False, validate_parameters=True)
def pipeline(
    pipeline: str,
    overrides: list[str] = [],  # noqa: B006
    store: str | None = None,
    from_: str | None = None,
    only: str | None = None,
    force: bool = False,
    locked: bool = False,
) -> State[dict[str, Any]]:
    """Check a pipeline file, run what changed, gate on its expectations and write its report.

    The result is the summary that `koopcast run --json` prints. A failed step or expectation is a failed flow
    run whose message holds the numbers.

    Args:
        pipeline: Path of the YAML file.
        overrides: Options such as steps.dynamics.model.rank=12.
        store: Root of the store; default KOOPCAST_STORE or ./runs.
        from_: Run this step and what follows from it.
        only: Run this step alone.
        force: Compute again what the store has already.
        locked: Refuse to run when anything differs from the last run.
    """
    redact_logs()
    request = Request(
        pipeline=pipeline,
        overrides=overrides,
        store=store,
        from_=from_,
        only=only,
        force=force,
        locked=locked,
    )
    with _handed_back() as kept:
        prepared = prepare(request)
        with _task_runner(prepared.plan.loaded.pipeline.runner) as runner:
            result = carry_out(prepared, PrefectEngine(runner), _shown_on())
        kept["result"] = result.model_dump(mode="json")
    _leave_artifacts(result)
    if result.state == "done":
        return Completed(message=f"run {result.run}", data=kept["result"])
    return Failed(message=result.explanation())


def _shown_on() -> Display:
    """Return the display of who called the flow in this process.

    A function of its own: Dask sends the flow's function by value, and a context variable cannot be sent.
    """
    return _display.get() or Silent()


@contextmanager
def _handed_back() -> Iterator[dict[str, Any]]:
    """Keep the result or the error for who called the flow in this process."""
    summary = _summary.get()
    kept: dict[str, Any] = {} if summary is None else summary
    try:
        yield kept
    except Exception as error:
        kept["error"] = error
        raise


def _leave_artifacts(result: RunResult) -> None:
    """Show scores, expectations and the report on the page of the flow run."""
    rows = [
        {"metric": metric, "subject": subject, "lead": lead, "value": value}
        for metric, subjects in result.scores.items()
        for subject, leads in subjects.items()
        for lead, value in leads.items()
    ]
    if rows:
        create_table_artifact(table=rows, key="scores", description=f"Scores of run {result.run}")
    if result.expect:
        create_table_artifact(
            table=[gate.model_dump(mode="json") for gate in result.expect], key="expectations"
        )
    if result.report:
        create_link_artifact(link=f"file://{result.report}", key="report", link_text="Report with figures")
