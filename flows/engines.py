"""Two engines for one plan: both call the same tasks and leave the same bytes."""

from collections.abc import Sequence
from typing import Protocol

from flows.display import Display
from koopcast.errors import KoopcastError, StoreDamaged
from koopcast.progress import listening
from koopcast.stores import Store
from tasks.job import Job, Outcome
from tasks.perform import perform


class Skipped(Exception):
    """A step that did not run because one that it needs has failed."""


class Handle(Protocol):
    """A step that was submitted."""

    def result(self) -> Outcome:
        """Wait for the end of the step; raise what it raised, or `Skipped`."""


class Engine(Protocol):
    """Carries out jobs, each after those it needs."""

    name: str
    is_immediate: bool
    """Whether a job has run when `submit` returns."""

    def submit(self, job: Job, after: Sequence[Handle], display: Display) -> Handle:
        """Hand over one job; `after` holds the handles of the steps whose results it reads."""


class _Finished:
    """The handle of a step that has run in this process."""

    def __init__(self, outcome: Outcome | Exception) -> None:
        self._outcome = outcome

    def result(self) -> Outcome:
        """Return the outcome or raise the error."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class InlineEngine:
    """Runs one step after another in this process; knows no orchestrator."""

    name = "inline"
    is_immediate = True

    def submit(self, job: Job, after: Sequence[Handle], display: Display) -> Handle:
        """Run the job now, unless one that it needs has failed."""
        for handle in after:
            try:
                handle.result()
            except Exception:  # whatever it was, the step that raised it reports it
                return _Finished(Skipped(f"'{job.name}' needs a step that failed"))
        try:
            return _Finished(retried(job, display))
        except Exception as error:  # kept, and raised to who asks for the result
            return _Finished(error)


def announced(job: Job, display: Display) -> Outcome:
    """Perform a job with its progress shown on `display`."""
    if job.force or not _is_there(job):
        display.start(job.name, job.step.task)
    with listening(display.listener(job.name)):
        return perform(job)


def _is_there(job: Job) -> bool:
    try:
        return Store.open(job.store).find(job.kind, job.key) is not None
    except StoreDamaged:
        return False


def retried(job: Job, display: Display) -> Outcome:
    """Perform a job, and again after a failure of the machine as often as its step allows."""
    for _ in range(job.step.retries):
        try:
            return announced(job, display)
        except KoopcastError:
            raise
        except Exception as error:  # of the machine: worth another try
            display.say(f"{job.name}: {type(error).__name__}: {error}; trying again")
    return announced(job, display)
