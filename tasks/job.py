"""What a task is given and what it gives back: small, JSON, references instead of arrays."""

from typing import Any

from pydantic import SerializeAsAny

from koopcast.spec import Spec
from koopcast.stores import ArtefactRef
from schemas.stages import AnyStep


class Input(Spec):
    """An artefact that a step reads, by its address, and the part of it that the reference names."""

    kind: str
    key: str
    part: str | None = None


class Job(Spec):
    """One step of a run, ready to be carried out anywhere that sees the store."""

    store: str
    """Root of the store of artefacts."""
    pipeline: str
    name: str
    """Name of the step."""
    kind: str
    """What it makes: `dataset`, `model`, `analysis`, `scores`."""
    key: str
    """Content address of the result."""
    step: SerializeAsAny[AnyStep]
    seed: int
    """Of the step's own random streams."""
    observation_seed: int | None = None
    """Of observations drawn by the step: equal for steps that observe the same."""
    inputs: dict[str, Input]
    """Reference as written in the YAML -> artefact."""
    components: dict[str, Any]
    """What the key was made of; kept in the manifest for `koopcast why`."""
    contract: dict[str, Any] | None
    """What is known of the result beforehand; kept in the manifest for pipelines that refer to it."""
    threads: int
    """Torch threads while the step runs."""
    beside: list["Job"] = []
    """Points of a sweep that are computed with this one as one batch, as far as the store lacks them."""
    force: bool = False
    """Compute again although the result is there, and replace it in one step."""


class Outcome(Spec):
    """Where the result of a job is, and what it took."""

    ref: ArtefactRef
    cached: bool
    seconds: float
    """Of the computation that made the artefact, now or earlier."""
