"""The step that infers inputs of a map from noisy values of its outputs, and gates the run on the errors."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from koopcast.grids import FieldsInfo, TimeAxis
from koopcast.inversion.experiment import ExperimentSpec
from koopcast.spec import Problem
from schemas.expect import Vocabulary
from schemas.references import Dataset, Kind, Model, Ref, Scores
from schemas.stages.base import Contract, Inputs
from schemas.stages.gated import GatedStep


class InvertStep(GatedStep):
    """Observe outputs at a few places with noise, infer the inputs, and compare methods with the truth.

    Conditions name a method, and with `n` the signal-to-noise ratio in decibels.
    """

    yields: ClassVar[type[Kind]] = Scores
    task: Literal["invert"] = "invert"
    model: Ref[Model]
    """A trained map from one field to another of the same record."""
    data: Ref[Dataset]
    """True inputs and outputs; usually a `test` part."""
    experiment: ExperimentSpec
    """What is observed, of how many samples, and which methods infer."""

    def modules(self) -> tuple[str, ...]:
        """Return the experiment."""
        return ("koopcast.inversion.experiment",)

    def outline(self, inputs: Inputs) -> Contract:
        """Return a contract without fields: the step yields numbers."""
        return Contract(Scores, FieldsInfo({}, (), TimeAxis(0, "")))

    def vocabulary(self, inputs: Inputs) -> Vocabulary:
        """Return the errors, the methods and the ratios."""
        return Vocabulary(tuple(self.experiment.metrics()), self.experiment.subjects(), key="n")

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse what is no map of one field to another, and more samples or places than there are."""
        data = inputs[str(self.data)].part(self.data.part)
        yield from self.experiment.faults(data.fields, inputs[str(self.model)].mapping)
        yield from self.faulty_conditions(inputs)
