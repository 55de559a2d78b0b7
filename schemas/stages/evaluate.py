"""The step that scores, and gates the run."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from koopcast.baselines import AnyBaseline
from koopcast.metrics import AnyMetric
from koopcast.spec import Problem
from schemas.expect import Vocabulary
from schemas.references import Analysis, Dataset, Kind, Model, Ref, Scores
from schemas.stages.base import Contract, Inputs, mismatch
from schemas.stages.gated import GatedStep

BACKGROUND = "background"
"""`<analysis>.background` is scored beside each analysis."""


class EvaluateStep(GatedStep):
    """Score models (forecasts) and analyses beside baselines, and gate the run on the result."""

    yields: ClassVar[type[Kind]] = Scores
    task: Literal["evaluate"] = "evaluate"
    of: list[Ref[Model | Analysis]] = Field(min_length=1)
    """Models and analyses to score."""
    data: Ref[Dataset] | None = None
    """Truth for forecasts; default: the `test` part of what the models were trained on."""
    against: list[AnyBaseline] = []
    """Baselines, scored on the same records."""
    leads: list[PositiveInt] = Field(default=[1], min_length=1)
    """Forecast lengths in record steps."""
    metrics: list[AnyMetric] = Field(default=["rmse"], validate_default=True, min_length=1)
    """What is measured."""

    def modules(self) -> tuple[str, ...]:
        """Return the verification."""
        return ("koopcast.verification.evaluate",)

    def outline(self, inputs: Inputs) -> Contract:
        """Return the fields on which the subjects are scored."""
        truth = inputs[str(self.data)] if self.data is not None else inputs[str(self.of[0])]
        return Contract(Scores, truth.fields)

    def vocabulary(self, inputs: Inputs) -> Vocabulary:
        """Return the words that conditions may use."""
        has_forecasts = any(inputs[str(ref)].kind is Model for ref in self.of)
        leads = self.leads if has_forecasts else ()
        subjects: dict[str, Sequence[int]] = {baseline.kind: leads for baseline in self.against}
        variables: tuple[str, ...] = ()
        for ref in self.of:
            contract = inputs[str(ref)]
            variables = tuple(contract.fields.variables)
            is_analysis = contract.kind is Analysis
            subjects[ref.label] = () if is_analysis else self.leads
            if is_analysis:
                subjects[f"{ref.label}.{BACKGROUND}"] = ()
        return Vocabulary(tuple(metric.kind for metric in self.metrics), subjects, variables)

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse subjects, leads, metrics and conditions that cannot be scored."""
        yield from self._subjects_differ()
        yield from self._truth_fits(inputs)
        yield from self._metrics_apply(inputs)
        yield from self._baselines_apply(inputs)
        yield from self.faulty_conditions(inputs)

    def _subjects_differ(self) -> Iterator[Problem]:
        lists: dict[str, list[str]] = {
            "of": [ref.label for ref in self.of],
            "against": [str(baseline.kind) for baseline in self.against],
            "leads": [str(lead) for lead in self.leads],
            "metrics": [repr(metric) for metric in self.metrics],
        }
        for option, names in lists.items():
            for index, name in enumerate(names):
                if name in names[:index]:
                    yield Problem((option, index), "was named before; remove it")

    def _truth_fits(self, inputs: Inputs) -> Iterator[Problem]:
        models = {index: ref for index, ref in enumerate(self.of) if inputs[str(ref)].kind is Model}
        if not models or self.data is None:
            return
        truth = inputs[str(self.data)]
        for index, ref in models.items():
            if difference := mismatch(inputs[str(ref)].fields, truth.fields):
                yield Problem(
                    ("of", index), f"'{ref}' {difference} ('{self.data}'); name its truth with `data`"
                )
        longest = longest_lead(truth, max(inputs[str(ref)].history for ref in models.values()))
        for index, lead in enumerate(self.leads):
            if lead > longest:
                yield Problem(
                    ("leads", index),
                    f"{lead} is above {longest}, the longest lead that the {truth.fields.time.size} records "
                    f"of '{self.data}' can verify; lower it or widen the part",
                )

    def _metrics_apply(self, inputs: Inputs) -> Iterator[Problem]:
        ensembles = [ref for ref in self.of if inputs[str(ref)].members > 1]
        for index, metric in enumerate(self.metrics):
            if metric.needs_members and not ensembles:
                yield Problem(
                    ("metrics", index),
                    f"'{metric.kind}' needs an ensemble, and none of {', '.join(map(str, self.of))} has one; "
                    "score an analysis with `keep: members` and two members or more, or remove the metric",
                )

    def _baselines_apply(self, inputs: Inputs) -> Iterator[Problem]:
        if any(inputs[str(ref)].kind is Model for ref in self.of):
            return
        for index, baseline in enumerate(self.against):
            if baseline.uses_start:
                yield Problem(
                    ("against", index),
                    f"'{baseline.kind}' is a forecast, and `of` holds analyses alone; remove it or "
                    "score a model too",
                )


def longest_lead(truth: Contract, history: int) -> int:
    """Return the longest lead that can be verified: forecasts start one record before the window at the
    earliest.
    """
    first_start = max(history - 1, truth.begin - 1)
    return truth.begin + truth.fields.time.size - 1 - first_start
