"""The step that repeats a small experiment and tabulates it."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from koopcast.grids import FieldsInfo, TimeAxis
from koopcast.spec import Problem
from koopcast.studies import AnyStudy
from schemas.expect import Vocabulary
from schemas.references import Kind, Scores
from schemas.stages.base import Contract, Inputs
from schemas.stages.gated import GatedStep


class StudyStep(GatedStep):
    """Compare methods in a small experiment of its own, many times over, and gate the run on the table."""

    yields: ClassVar[type[Kind]] = Scores
    task: Literal["study"] = "study"
    study: AnyStudy
    """What is compared, on what, how often."""

    def modules(self) -> tuple[str, ...]:
        """Return nothing beside the study itself."""
        return ()

    def outline(self, inputs: Inputs) -> Contract:
        """Return a contract without fields: a study yields numbers alone."""
        return Contract(Scores, FieldsInfo({}, (), TimeAxis(0, "")))

    def vocabulary(self, inputs: Inputs) -> Vocabulary:
        """Return the metrics and subjects of the study, and the sizes of each."""
        return Vocabulary(tuple(self.study.metrics()), self.study.subjects(), key="n")

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse conditions on what the study does not measure."""
        yield from self.faulty_conditions(inputs)
