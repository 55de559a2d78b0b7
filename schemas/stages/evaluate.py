"""The step that scores, and gates the run."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from koopcast.baselines import AnyBaseline
from koopcast.grids import FieldsInfo
from koopcast.metrics import AnyMetric
from koopcast.spec import Problem
from schemas.expect import ExpectationError, Vocabulary, parse
from schemas.references import Analysis, Dataset, Kind, Model, Ref, Scores
from schemas.stages.base import NOT_IN_KEY, Contract, Inputs, Step

BACKGROUND = "background"
"""`<analysis>.background` is scored beside each analysis."""


class EvaluateStep(Step):
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
    expect: list[str] = Field(default=[], json_schema_extra=NOT_IN_KEY)
    """Conditions such as `rmse(dynamics, lead=3) <= 0.5 * rmse(persistence, lead=3)`.

    One that fails ends the run with exit code 3.
    """

    def outline(self, inputs: Inputs) -> Contract:
        """Return the fields on which the subjects are scored."""
        truth = inputs[str(self.data)] if self.data is not None else inputs[str(self.of[0])]
        return Contract(Scores, truth.fields)

    def vocabulary(self, inputs: Inputs) -> Vocabulary:
        """Return the words that conditions may use."""
        subjects: dict[str, Sequence[int]] = {baseline.kind: self.leads for baseline in self.against}
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
        yield from self._leads_fit(inputs)
        yield from self._metrics_apply(inputs)
        vocabulary = self.vocabulary(inputs)
        for index, text in enumerate(self.expect):
            try:
                parse(text, vocabulary)
            except ExpectationError as error:
                yield Problem(("expect", index), str(error))

    def _subjects_differ(self) -> Iterator[Problem]:
        for field, names in (("of", [ref.label for ref in self.of]), ("against", [b.kind for b in self.against])):
            for name, count in Counter(names).items():
                if count > 1:
                    last = len(names) - 1 - names[::-1].index(name)
                    yield Problem((field, last), f"'{name}' is named {count} times; name it once")

    def _leads_fit(self, inputs: Inputs) -> Iterator[Problem]:
        models = [inputs[str(ref)] for ref in self.of if inputs[str(ref)].kind is Model]
        if not models or self.data is None:
            return
        truth, history = inputs[str(self.data)], max(model.history for model in models)
        longest = longest_lead(truth.fields, history)
        for index, lead in enumerate(self.leads):
            if lead > longest:
                yield Problem(
                    ("leads", index),
                    f"{lead} is above {longest}, the longest lead that the {truth.fields.time.size} records of "
                    f"'{self.data}' can verify; lower it or widen the part",
                )

    def _metrics_apply(self, inputs: Inputs) -> Iterator[Problem]:
        ensembles = [ref for ref in self.of if inputs[str(ref)].members > 1]
        for index, metric in enumerate(self.metrics):
            if metric.needs_members and not ensembles:
                yield Problem(
                    ("metrics", index),
                    f"'{metric.kind}' needs an ensemble, and none of {', '.join(map(str, self.of))} has one; score an "
                    "analysis with `keep: members` and two members or more, or remove the metric",
                )


def longest_lead(fields: FieldsInfo, history: int) -> int:
    """Return the longest lead that can be verified: forecasts start one record before the window at the earliest."""
    return fields.time.size
