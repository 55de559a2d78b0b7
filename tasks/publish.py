"""Publication of what a job made."""

from koopcast.stores import Artefact, Slot
from tasks.job import Job


def publish(job: Job, slot: Slot, seconds: float | None = None) -> Artefact:
    """Publish the files in a slot as the result of a job; `seconds` is its share of a common computation."""
    return slot.publish(
        spec=job.step.model_dump(mode="json"),
        seed=job.seed,
        versions=job.components["code"],
        inputs={name: source.key for name, source in job.inputs.items()},
        external=job.components["files"],
        facts={
            "components": job.components,
            "contract": job.contract,
            "step": job.name,
            "pipeline": job.pipeline,
        },
        timings=None if seconds is None else {"total": seconds},
    )
