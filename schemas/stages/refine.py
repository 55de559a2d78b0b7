"""The step that refines what a model predicts, by the equation, and gates the run on what it gains."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, StringConstraints

from koopcast.grids import FieldsInfo, TimeAxis
from koopcast.refinement import AnyRefinement
from koopcast.refinement.comparison import PREDICTED, TRAINING, UNITS, subjects
from koopcast.spec import Problem
from schemas.expect import Vocabulary
from schemas.references import Dataset, Kind, Model, Ref, Scores
from schemas.stages.base import Contract, Inputs, mismatch
from schemas.stages.gated import GatedStep
from schemas.stages.generate import SYSTEM

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]\w*$")]


class RefineStep(GatedStep):
    """Make the frames that a map predicts fit the equation, without labels, and score them before and after.

    Subjects of conditions are `predicted`, the names of the methods, and `training`, whose seconds alone are
    known.
    """

    yields: ClassVar[type[Kind]] = Scores
    task: Literal["refine"] = "refine"
    model: Ref[Model]
    """A map from records to those after them."""
    data: Ref[Dataset]
    """Trajectories: their first records are given to the model, those after them are the truth."""
    system: Ref[Model]
    """The equation: `<step>.system` of the step that generated such data."""
    methods: dict[Name, AnyRefinement] = Field(
        default={"refined": "spectral_refiner"}, validate_default=True, min_length=1
    )
    """Names -> refinements, each from the same prediction."""
    cases: PositiveInt | None = None
    """Refine the first so many samples; default: all."""

    def modules(self) -> tuple[str, ...]:
        """Return the cases and their comparison."""
        return ("koopcast.refinement.cases", "koopcast.refinement.comparison")

    def outline(self, inputs: Inputs) -> Contract:
        """Return a contract without fields: the step yields numbers."""
        return Contract(Scores, FieldsInfo({}, (), TimeAxis(0, "")))

    def vocabulary(self, inputs: Inputs) -> Vocabulary:
        """Return what is measured before and after."""
        return Vocabulary(tuple(UNITS), dict.fromkeys(subjects(self.methods), ()), key="n")

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse what is no map ahead in time, other equations, and waves that the frames do not hold."""
        for name in self.methods:
            if name in (PREDICTED, TRAINING):
                yield Problem(("methods", name), f"'{name}' is the name of another subject; choose another")
        if self.system.part != SYSTEM:
            yield Problem(("system",), f"'{self.system}' is no system; write `<step>.{SYSTEM}`")
        model, data, system = (inputs[str(ref)] for ref in (self.model, self.data, self.system))
        signature = model.mapping
        if signature is None or not signature.ahead or signature.inputs != signature.outputs:
            yield Problem(
                ("model",),
                f"'{self.model}' is no map from records to those after them; train it with "
                "`mapping: {given: …, predicted: …}`",
            )
        elif fault := mismatch(system.fields, data.fields):
            yield Problem(("system",), f"'{self.system}' {fault}; take the system that made such data")
        elif data.part(self.data.part).fields.time.size < signature.num_frames:
            yield Problem(
                ("data",),
                f"{signature.num_frames} records are given and predicted, '{self.data}' has "
                f"{data.part(self.data.part).fields.time.size}",
            )
        else:
            for name, method in self.methods.items():
                for problem in method.faults(data.fields.axes, signature.frames_out):
                    yield problem.below("methods", name)
        yield from self.faulty_conditions(inputs)
