"""Points of a sweep as one batch of experiments, each an artefact of its own."""

import time
from collections.abc import Iterator, Sequence

from koopcast.assimilation.cycle import CycleState, Experiment
from koopcast.assimilation.records import Cycles
from koopcast.assimilation.side_by_side import observations_fit, run_side_by_side
from koopcast.errors import ComputeError
from koopcast.stores import Store
from schemas.stages import AssimilateStep
from tasks.assimilate import begin, end
from tasks.job import Job
from tasks.publish import publish
from tasks.workspace import Workspace

Begun = tuple[Job, Experiment, CycleState]


def make_together(jobs: Sequence[Job], store: Store) -> None:
    """Compute and publish the jobs that the store lacks, as far as they run as one batch.

    What fails is left out: the job that is then done alone says why.
    """
    started = time.perf_counter()
    missing = [job for job in jobs if store.find(job.kind, job.key) is None]
    begun = [(job, *begin(_step(job), Workspace(job, store))) for job in missing]
    if len(begun) < 2 or not observations_fit([experiment.observations for _, experiment, _ in begun]):
        return
    found = list(_found(begun))
    share = (time.perf_counter() - started) / max(1, len(found))
    for job, experiment, cycles in found:
        entered = time.perf_counter()
        with store.produce(job.kind, job.key) as slot:
            if slot.existing is None:
                end(_step(job), experiment, cycles, Workspace(job, store, slot))
                publish(job, slot, share + time.perf_counter() - entered)


def _found(begun: Sequence[Begun]) -> Iterator[tuple[Job, Experiment, Cycles]]:
    """Yield what a batch ends in; one that fails is halved until those are apart that fail."""
    experiments = [experiment for _, experiment, _ in begun]
    generators = [state.generator.get_state() for _, _, state in begun]
    try:
        results = run_side_by_side(experiments, [state for *_, state in begun], keep=_step(begun[0][0]).keep)
    except ComputeError:
        for (_, _, state), start in zip(begun, generators, strict=True):
            state.generator.set_state(start)
        half = len(begun) // 2
        for part in (begun[:half], begun[half:]) if half else ():
            yield from _found(part)
        return
    for (job, experiment, _), cycles in zip(begun, results, strict=True):
        yield job, experiment, cycles


def _step(job: Job) -> AssimilateStep:
    assert isinstance(job.step, AssimilateStep)
    return job.step
