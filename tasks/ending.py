"""How a run ended, as its report tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StepFacts:
    """What became of a step, as its row in the report tells."""

    state: str
    cached: bool
    seconds: float
    message: str


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    state: str
    """`done`, `failed`, `expectation_failed`."""
    steps: Mapping[str, StepFacts]
    expectations: Sequence[tuple[str, bool, float | None]]
    command: str
    """What runs it again."""
