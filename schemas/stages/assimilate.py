"""The step that cycles a model through observations."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from koopcast.assimilation import AnyAnalysis, AnyInitial
from koopcast.assimilation.base import SmootherSpec
from koopcast.assimilation.cycle import ModelNoise
from koopcast.assimilation.guards import Limits
from koopcast.assimilation.windows import AnalysisWindow
from koopcast.grids import FieldsInfo
from koopcast.observations import AnyObservations
from koopcast.spec import Problem
from schemas.references import Analysis, Dataset, Kind, Model, Prior, Ref
from schemas.stages.base import Contract, Inputs, Step, mismatch


class AssimilateStep(Step):
    """Cycle a forecast model through observations of a dataset.

    It is a twin experiment where the observations are synthetic.
    """

    yields: ClassVar[type[Kind]] = Analysis
    task: Literal["assimilate"] = "assimilate"
    model: Ref[Model]
    """A trained step, or `<generate step>.system` for the true model."""
    data: Ref[Dataset]
    """The truth; usually its `test` part."""
    observations: AnyObservations
    """What is observed, where and how well."""
    method: AnyAnalysis
    """How the ensemble is drawn to the observations."""
    prior: Ref[Prior] | None = None
    """A learned prior, for methods that use one."""
    initial: AnyInitial = Field(default="climatology", validate_default=True)
    """How the first ensemble is drawn."""
    model_noise: ModelNoise = ModelNoise()
    """What is added to the members at each step for the model's own error."""
    cycles: PositiveInt | None = None
    """Stop after so many observation times; default: the whole of `data`."""
    burn_in: NonNegativeInt = 0
    """Observation times that are left out of scores."""
    records: Literal["observed", "all"] = "observed"
    """Which records are kept and scored: those with an observation time, or all of them, forecasts between
    and after the observations too. `cycles` and `burn_in` then count records."""
    window: AnalysisWindow | None = None
    """Analyse the observations of several records at once, with a filter; `cycles` and `burn_in` then count
    windows. Default: every observation time by itself."""
    limits: Limits = Limits()
    """When to stop with an error, and keep what was made until then."""
    repeats: PositiveInt = Field(1, le=10**5)
    """Independent experiments on each sample (own sites, noise and ensemble), run as one batch."""
    keep: Literal["members", "mean"] = "members"
    """What the artefact holds of each ensemble; probabilistic scores need `members`."""

    def modules(self) -> tuple[str, ...]:
        """Return the cycle."""
        return ("koopcast.assimilation.cycle",)

    def outline(self, inputs: Inputs) -> Contract:
        """Return the fields of the data, and the ensemble that is kept."""
        members = self.method.num_members() if self.keep == "members" else 1
        return Contract(Analysis, inputs[str(self.data)].fields, self.data, members=members)

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse a model that does not fit the data, the method or the length of the experiment."""
        model, fields = inputs[str(self.model)], inputs[str(self.data)].fields
        if model.mapping is not None:
            yield Problem(
                ("model",),
                f"'{self.model}' maps fields to others and forecasts nothing; train it without `mapping`",
            )
            return
        if self.method.needs_correction() and not model.has_correction:
            yield Problem(
                ("method",),
                f"'{self.method.kind}' corrects with the gain of the forecast model, and '{self.model}' has "
                "none; train a model that has one (`model: noda`), or choose another method",
            )
        yield from self._faulty_prior(inputs)
        if difference := mismatch(model.fields, fields):
            yield Problem(("model",), f"'{self.model}' {difference}; use a model of these data")
        if self.method.needs_physical_state() and not model.is_localizable:
            is_option = "localization" in type(self.method).model_fields
            yield Problem(
                ("method", "localization") if is_option else ("method",),
                f"localization needs cells with a position, and the state of model '{self.model}' has none; "
                "remove `localization`, or choose a model whose state is the field",
            )
        yield from self._observations_fit()
        yield from self._windows_fit(fields)
        yield from self._length_fits(model.history, fields)

    def _faulty_prior(self, inputs: Inputs) -> Iterator[Problem]:
        if not self.method.needs_prior():
            if self.prior is not None:
                yield Problem(("prior",), f"'{self.method.kind}' uses no prior; remove it")
            return
        if self.prior is None:
            yield Problem(
                ("method",),
                f"'{self.method.kind}' needs a learned prior; name a step `task: learn_prior` with `prior`",
            )
            return
        learned, fields = inputs[str(self.prior)].fields, inputs[str(self.data)].fields
        one, other = ((tuple(each.variables), each.shape) for each in (learned, fields))
        if one != other:
            yield Problem(
                ("prior",),
                f"'{self.prior}' was learned of {', '.join(one[0])} on {one[1]}, the data hold "
                f"{', '.join(other[0])} on {other[1]}; learn a prior of such data",
            )

    def _observations_fit(self) -> Iterator[Problem]:
        """Refuse methods that need of observations what these have not, and times that cycles pass by."""
        sees_between = self.window is not None and self.window.first_guess != "at_analysis"
        for kind in self.observations.kinds():
            if kind.early > 0 and not sees_between:
                yield Problem(
                    ("observations",),
                    f"{kind.name} are made between records (`early`); set a `window` with `first_guess: "
                    "at_time` or `four_dimensional`",
                )
            if self.method.needs_cells() and not kind.is_of_cells:
                yield Problem(
                    ("observations",),
                    f"'{self.method.kind}' takes values of cells alone, and {kind.name} are seen through an "
                    "operator; use `operator: index`, or another method",
                )
            elif self.method.needs_physical_state() and not kind.is_located:
                yield Problem(
                    ("observations",),
                    f"{kind.name} have no place, and '{self.method.kind}' is localised; set "
                    "`localization: none`, or take a method that is not localised",
                )

    def _windows_fit(self, fields: FieldsInfo) -> Iterator[Problem]:
        if self.window is None:
            return
        if isinstance(self.method, SmootherSpec):
            yield Problem(
                ("window",),
                f"'{self.method.kind}' has windows of its own; remove it and set `lag` and `shift`",
            )
        if self.records == "all":
            yield Problem(("records",), "with a `window` the analysis times alone are kept; remove it")
        if self.window.num_windows(fields.time.size) == 0:
            yield Problem(
                ("window", "records"),
                f"{self.window.records} is above {fields.time.size - 1}, the records of '{self.data}' after "
                "the first; lower it",
            )

    def _length_fits(self, history: int, fields: FieldsInfo) -> Iterator[Problem]:
        records = fields.time.size
        if records <= history:
            yield Problem(
                ("data",),
                f"'{self.data}' has {records} records, and {history} of them make one state; "
                "use a longer part",
            )
        if self.cycles is not None and self.cycles > records:
            yield Problem(
                ("cycles",), f"{self.cycles} is above {records}, the records of '{self.data}'; lower cycles"
            )
        cycles = min(self.cycles or records, records)
        if self.window is not None:
            cycles = min(cycles, self.window.num_windows(records))
        if self.burn_in >= cycles:
            yield Problem(
                ("burn_in",),
                f"{self.burn_in} leaves nothing of {cycles} observation times to score; lower it",
            )
