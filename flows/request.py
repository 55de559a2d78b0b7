"""What a person asks of a run, and the summary that it gives back."""

import math
from typing import Any, Literal

from pydantic import field_validator

from koopcast.errors import printable
from koopcast.spec import Spec
from tasks.scores import Scores


class Request(Spec):
    """What a person asks for."""

    pipeline: str
    """Path of the YAML file."""
    overrides: list[str] = []
    store: str | None = None
    from_: str | None = None
    only: str | None = None
    force: bool = False
    locked: bool = False

    @property
    def command(self) -> str:
        """Return the command line that asks for the same, as a page can show it."""
        options = [("--set", item) for item in self.overrides]
        options += [(flag, value) for flag, value in (("--from", self.from_), ("--only", self.only)) if value]
        words = ["koopcast", "run", self.pipeline, *(f"{flag} '{value}'" for flag, value in options)]
        return printable(" ".join(words))


class StepResult(Spec):
    """What became of one step."""

    key: str
    state: Literal["done", "failed", "lost", "skipped"]
    """`lost`: a point of a sweep whose mathematics failed; a row of its table, and no failure of the run."""
    cached: bool = False
    seconds: float = 0.0
    """Of the computation that made the artefact, now or earlier."""
    artefact: str | None = None
    """Directory of the artefact."""
    message: str = ""


class Gate(Spec):
    """A condition on the scores, and what became of it."""

    step: str
    """Whose scores it speaks of."""
    text: str
    holds: bool
    value: float | None
    """Of its left side; null where the scores do not hold a number."""

    @field_validator("value", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any) -> Any:
        return None if value is None or not math.isfinite(value) else value


class RunResult(Spec):
    """The summary of a run: what `--json` prints."""

    run: str
    state: Literal["done", "failed", "expectation_failed"]
    steps: dict[str, StepResult]
    scores: dict[str, dict[str, dict[str, float | None]]] = {}
    """metric -> subject -> lead `3`, size `n=40` or `all` -> value; null where it is not finite. A subject
    that several steps score the same way is `step.subject`."""
    expect: list[Gate] = []
    report: str | None = None
    """Path of the page."""

    @property
    def exit_code(self) -> int:
        """Return 0 done, 1 a step failed, 3 an expectation did not hold."""
        return {"done": 0, "failed": 1, "expectation_failed": 3}[self.state]

    def explanation(self) -> str:
        """Return in a few words why the run is not done."""
        failed = [
            f"step '{name}' failed: {step.message}"
            for name, step in self.steps.items()
            if step.state == "failed"
        ]
        broken = [
            f"{gate.step}: `{gate.text}` does not hold: {gate.value}"
            for gate in self.expect
            if not gate.holds
        ]
        return "; ".join(failed + broken)


def finite(scores: Scores) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the scores with null for what is not a finite number, as JSON knows no other."""
    return {
        metric: {
            subject: {lead: value if math.isfinite(value) else None for lead, value in leads.items()}
            for subject, leads in subjects.items()
        }
        for metric, subjects in scores.items()
    }
