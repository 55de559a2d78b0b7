"""The step that scores, and gates the run."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, PositiveInt

from koopcast.baselines import AnyBaseline
from koopcast.metrics import AnyMetric
from koopcast.numerics.geometry import period
from koopcast.spec import Problem
from schemas.expect import Vocabulary
from schemas.references import NAME, Analysis, Dataset, Kind, Model, Ref, Scores
from schemas.stages.base import Contract, Inputs, mismatch
from schemas.stages.gated import GatedStep

BesideName: TypeAlias = Annotated[str, Field(pattern=NAME, max_length=40)]
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
    beside: dict[BesideName, Ref[Dataset]] = {}
    """More data to score the same models on, by names of your own: `<subject>.<name>`."""
    against: list[AnyBaseline] = []
    """Baselines, scored on the same records."""
    sectors: dict[BesideName, dict[str, tuple[float, float]]] = {}
    """Regions to score by themselves, as `<subject>.<sector>`: `tropics: {latitude: [-20, 20]}`, least and
    largest coordinate of some axes; on a closed axis the first may be above the second, across its seam."""
    leads: list[PositiveInt] = Field(default=[1], min_length=1)
    """Forecast lengths in record steps."""
    metrics: list[AnyMetric] = Field(default=["rmse"], validate_default=True, min_length=1)
    """What is measured."""
    eigenfunctions: bool = False
    """Whether the eigenfunctions of Koopman models, and their latent states, are kept at every record of
    `data`: `eigenfunctions.zarr`, a group a model, `eigenfunction(sample, time, mode)` with the eigenvalue
    and the residuals of each mode."""

    def modules(self) -> tuple[str, ...]:
        """Return the verification."""
        return ("koopcast.verification.evaluate",)

    def outline(self, inputs: Inputs) -> Contract:
        """Return the fields on which the subjects are scored."""
        truth = inputs[str(self.data)] if self.data is not None else inputs[str(self.of[0])]
        return Contract(Scores, truth.fields)

    def vocabulary(self, inputs: Inputs) -> Vocabulary:
        """Return the words that conditions may use."""
        has_forecasts = any(_forecasts(inputs[str(ref)]) for ref in self.of)
        leads = self.leads if has_forecasts else ()
        subjects: dict[str, Sequence[int]] = {baseline.kind: leads for baseline in self.against}
        variables: tuple[str, ...] = ()
        for ref in self.of:
            contract = inputs[str(ref)]
            variables = tuple(contract.fields.variables)
            is_analysis = contract.kind is Analysis
            subjects[ref.label] = () if is_analysis else self.leads
            if contract.mapping is not None:
                subjects[ref.label], variables = (), contract.mapping.outputs
            for name in self.beside if contract.kind is Model else ():
                subjects[f"{ref.label}.{name}"] = subjects[ref.label]
            if is_analysis:
                subjects[f"{ref.label}.{BACKGROUND}"] = ()
        for name, known in list(subjects.items()):
            subjects |= {f"{name}.{sector}": known for sector in self.sectors}
        of_models = tuple(metric.kind for metric in self.metrics if metric.is_of_model)
        metrics = tuple(metric.kind for metric in self.metrics)
        return Vocabulary(metrics, subjects, variables, of_models=of_models)

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse subjects, leads, metrics and conditions that cannot be scored."""
        yield from self._subjects_differ()
        yield from self._kinds_agree(inputs)
        yield from self._truth_fits(inputs)
        yield from self._beside_fits(inputs)
        yield from self._sectors_fit(inputs)
        yield from self._metrics_apply(inputs)
        yield from self._eigenfunctions_exist(inputs)
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

    def _kinds_agree(self, inputs: Inputs) -> Iterator[Problem]:
        are_maps = [inputs[str(ref)].mapping is not None for ref in self.of]
        for index, ref in enumerate(self.of):
            if are_maps[index] != are_maps[0]:
                words = ("a map", "no map") if are_maps[index] else ("no map", "a map")
                yield Problem(
                    ("of", index),
                    f"'{ref}' is {words[0]} and '{self.of[0]}' is {words[1]}; score them in two steps",
                )
        if not any(are_maps):
            return
        for index, baseline in enumerate(self.against):
            yield Problem(
                ("against", index),
                f"'{baseline.kind}' is a forecast and maps are scored; train linear_map as the baseline",
            )
        if "leads" in self.model_fields_set:
            yield Problem(("leads",), "a map returns all its records at once; remove leads")

    def _beside_fits(self, inputs: Inputs) -> Iterator[Problem]:
        for name, ref in self.beside.items():
            for subject in self.of:
                contract = inputs[str(subject)]
                if contract.kind is not Model:
                    yield Problem(
                        ("beside", name), f"'{subject}' is an analysis, made of one dataset; remove it"
                    )
                elif fault := misfit(subject.label, contract, inputs[str(ref)]):
                    yield Problem(("beside", name), fault)

    def _truth_fits(self, inputs: Inputs) -> Iterator[Problem]:
        for index, ref in enumerate(self.of):
            if self.data is None or inputs[str(ref)].mapping is None:
                continue
            if fault := misfit(ref.label, inputs[str(ref)], inputs[str(self.data)]):
                yield Problem(("of", index), fault)
        models = {index: ref for index, ref in enumerate(self.of) if _forecasts(inputs[str(ref)])}
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

    def _sectors_fit(self, inputs: Inputs) -> Iterator[Problem]:
        contract = inputs[str(self.of[0])]
        axes = {axis.name: axis for axis in contract.fields.axes}
        for name, sector in self.sectors.items():
            if contract.mapping is not None:
                yield Problem(("sectors", name), "maps are scored on the whole grid; remove it")
            if not sector:
                yield Problem(("sectors", name), f"names no axis (axes: {', '.join(axes)})")
            for axis, (low, high) in sector.items():
                if axis not in axes:
                    text = f"unknown axis '{axis}' (axes: {', '.join(axes)})"
                    yield Problem(("sectors", name, axis), text)
                elif low > high and period(axes[axis]) is None:
                    yield Problem(
                        ("sectors", name, axis), f"{low:g} is above {high:g}, and the axis is not closed"
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

    def _eigenfunctions_exist(self, inputs: Inputs) -> Iterator[Problem]:
        if self.eigenfunctions and not any(_forecasts(inputs[str(ref)]) for ref in self.of):
            yield Problem(
                ("eigenfunctions",),
                "`of` holds no model that steps in time; add a Koopman model, or remove it",
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


def _forecasts(contract: Contract) -> bool:
    return contract.kind is Model and contract.mapping is None


def misfit(name: str, model: Contract, data: Contract) -> str | None:
    """Return why a model cannot be scored on a dataset; None where it can."""
    fields = data.fields
    if model.mapping is None:
        return None if (fault := mismatch(model.fields, fields)) is None else f"'{name}' {fault}"
    missing = [
        item for item in (*model.mapping.inputs, *model.mapping.outputs) if item not in fields.variables
    ]
    if missing:
        return f"'{name}' needs '{missing[0]}', the data hold {', '.join(fields.variables)}"
    if len(fields.axes) != len(model.fields.axes):
        return f"'{name}' maps fields of {len(model.fields.axes)} axes, the data have {len(fields.axes)}"
    if fields.shape != model.fields.shape and not model.transfers:
        return (
            f"'{name}' was trained on a grid {model.fields.shape} and works there alone, the data have "
            f"{fields.shape}; set resample_io on the model, or choose one that works on any grid"
        )
    if fields.time.size < model.mapping.num_frames:
        return f"'{name}' takes {model.mapping.num_frames} records, the data have {fields.time.size}"
    return None


def longest_lead(truth: Contract, history: int) -> int:
    """Return the longest lead that can be verified: forecasts start one record before the window at the
    earliest.
    """
    first_start = max(history - 1, truth.begin - 1)
    return truth.begin + truth.fields.time.size - 1 - first_start
