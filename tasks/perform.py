"""Carry out one job: lock its key, call the stage, publish the artefact."""

from typing import assert_never

from koopcast.stores import Store
from schemas.stages import (
    AssimilateStep,
    EvaluateStep,
    GenerateStep,
    IngestStep,
    InvertStep,
    LearnPriorStep,
    RefineStep,
    StudyStep,
    TrainStep,
)
from tasks.assimilate import assimilate
from tasks.evaluate import evaluate
from tasks.generate import generate
from tasks.ingest import ingest
from tasks.invert import invert
from tasks.job import Job, Outcome
from tasks.learn_prior import learn_prior
from tasks.publish import publish
from tasks.refine import refine
from tasks.study import study
from tasks.threads import compute_with
from tasks.together import make_together
from tasks.train import train
from tasks.workspace import Workspace

STAGES = (
    "ingest", "generate", "train", "learn_prior", "assimilate", "evaluate", "invert", "refine", "study",
)  # fmt: skip


def perform(job: Job) -> Outcome:
    """Return where the result of a job is, computing it unless the store has it already.

    Called twice, also at the same time by two runs, it computes once.
    """
    store = Store.open(job.store)
    compute_with(job.threads)
    if job.beside:
        make_together([job, *job.beside], store)
    with store.produce(job.kind, job.key, force=job.force) as slot:
        if slot.existing is not None:
            total = slot.existing.manifest.timings["total"]
            return Outcome(ref=slot.existing.ref, cached=True, seconds=total)
        _call_stage(Workspace(job, store, slot))
        artefact = publish(job, slot)
    return Outcome(ref=artefact.ref, cached=False, seconds=artefact.manifest.timings["total"])


def _call_stage(workspace: Workspace) -> None:
    match workspace.job.step:
        case IngestStep() as step:
            ingest(step, workspace)
        case GenerateStep() as step:
            generate(step, workspace)
        case TrainStep() as step:
            train(step, workspace)
        case AssimilateStep() as step:
            assimilate(step, workspace)
        case EvaluateStep() as step:
            evaluate(step, workspace)
        case InvertStep() as step:
            invert(step, workspace)
        case LearnPriorStep() as step:
            learn_prior(step, workspace)
        case RefineStep() as step:
            refine(step, workspace)
        case StudyStep() as step:
            study(step, workspace)
        case _:
            assert_never(workspace.job.step)
