"""A cycle: its grammar, and the one way from a file to a checked cycle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from koopcast.assimilation import AnyAnalysis, AnyInitial, SmootherSpec
from koopcast.assimilation.cycle import ModelNoise
from koopcast.cycles.chain import FirstGuess
from koopcast.cycles.clock import steps_in
from koopcast.cycles.feed import AnyInbox
from koopcast.cycles.work import Late, Policy
from koopcast.errors import KoopcastError
from koopcast.grids import FieldsInfo
from koopcast.spec import Path, Problem, Spec
from koopcast.times import Duration, parse_duration
from schemas.check import Earlier, Lookup, fitting
from schemas.cycle_options import ArchiveOptions, CycleOptions, ForecastOptions
from schemas.expect import ExpectationError, Vocabulary, parse
from schemas.faults import Fault, PipelineInvalid
from schemas.merge import read_extended, with_overrides
from schemas.pipeline import Deploy, Schedule, Slug
from schemas.positions import Mapping, mark_of, plain
from schemas.references import Dataset, Model, Ref
from schemas.stages import Contract
from schemas.translate import translate

SUBJECT = "cycle"
"""What conditions on the monitors of a cycle are about: `ob_rms(cycle) < 1`."""
MONITORS = (
    "rejection_rate",
    "spread",
    "background_spread",
    "increment_rms",
    "ob_mean",
    "ob_rms",
    "oa_mean",
    "oa_rms",
    "chi_square_per_observation",
    "degrees_of_freedom_per_observation",
)


class Cycle(Spec):
    """One YAML file: a model, its observations, and the windows in which it is drawn to them."""

    name: Slug
    """Of the cycle; its archive is kept under it."""
    description: str = ""
    """For people."""
    seed: int = Field(0, ge=0, lt=2**59)
    """Of every random number."""
    extends: str | None = None
    """Another file over which this one is laid."""
    model: Ref[Model]
    """What forecasts: `runs://pipeline/run/step` of a trained step, or `runs://.../step.system`."""
    observations: AnyInbox
    """Where reports come from."""
    method: AnyAnalysis
    """How the ensemble is drawn to them."""
    initial: AnyInitial = Field(default="climatology", validate_default=True)
    """How the first ensemble is drawn."""
    first_guess: FirstGuess | Ref[Dataset] = Field("previous_analysis", union_mode="left_to_right")
    """What each window starts from: the analysis before it; or (`climatology`) a draw of `initial` of its
    own, which knows nothing of earlier reports; or (`runs://pipeline/run/step`) the fields that a dataset
    holds for the beginning of its step, with the anomalies of such a draw, and the analysis before it where
    the dataset holds none."""
    model_noise: ModelNoise = ModelNoise()
    """What is added to the members at each step for the model's own error."""
    cycle: CycleOptions
    """The windows."""
    clock: Literal["near_real_time", "reanalysis"] = "near_real_time"
    """A reanalysis takes all windows that have reports, and refuses options or a model that changed; in near
    real time windows fall due as time goes by, and a change is noted in the archive."""
    late: Late = "rerun"
    """What reports do that arrive after their window was analysed: nothing, enter the next window, or have
    their window and those after it analysed again."""
    max_catchup: PositiveInt = Field(24, le=10**6)
    """New windows in one tick, at most; the others wait for the next one."""
    max_rerun_windows: NonNegativeInt = 3
    """Last windows that late reports can still change."""
    min_observations: NonNegativeInt = 1
    """Used reports below which a window is warned of."""
    forecast: ForecastOptions | None = None
    """Forecasts from each analysis; default: none."""
    archive: ArchiveOptions = ArchiveOptions()
    """What the archive keeps, and in which form."""
    threads: PositiveInt = Field(2, le=1024)
    """Threads of torch."""
    schedule: Schedule | None = None
    """When its deployment runs."""
    deploy: Deploy | None = None
    """How its deployment runs."""
    expect: list[str] = []
    """Conditions on the monitors, means over the windows of a tick: `chi_square_per_observation(cycle) in
    [0.5, 2]`."""

    @model_validator(mode="after")
    def _keeps_what_late_reports_need(self) -> "Cycle":
        restart = self.archive.restart
        if restart.every > 1 and restart.last < self.max_rerun_windows + 2:
            raise ValueError(
                f"archive.restart.last: {restart.last} is below max_rerun_windows + 2, "
                f"{self.max_rerun_windows + 2}; late reports go on from there"
            )
        return self

    def policy(self) -> Policy:
        """Return how the cycle deals with what does not come in order."""
        return Policy(
            late=self.late,
            max_catchup=self.max_catchup,
            max_rerun_windows=self.max_rerun_windows,
            min_observations=self.min_observations,
            is_reanalysis=self.clock == "reanalysis",
        )

    def problems(self) -> Iterator[Problem]:
        """Yield what can be said without the model."""
        if self.model.run is None:
            yield Problem(
                ("model",),
                f"'{self.model}' is a step; a cycle names one of a run: runs://pipeline/latest/step",
            )
        if isinstance(self.first_guess, Ref) and self.first_guess.run is None:
            yield Problem(
                ("first_guess",),
                f"'{self.first_guess}' is none of {', '.join(get_args(FirstGuess))}; or name a dataset of a "
                "run: runs://pipeline/latest/step",
            )
        if self.initial.kind == "perturbed":
            yield Problem(
                ("initial",), "'perturbed' needs a truth, and a cycle has none; use climatology or constant"
            )
        for index, text in enumerate(self.expect):
            try:
                parse(text, Vocabulary(MONITORS, {SUBJECT: ()}))
            except ExpectationError as error:
                yield Problem(("expect", index), str(error))

    def rules(self, earlier: Earlier) -> Iterator[Problem]:
        """Yield what the model refuses."""
        contract = earlier.contract
        if contract.kind is not Model or contract.mapping is not None:
            yield Problem(("model",), f"'{self.model}' forecasts nothing; name a model of dynamics")
            return
        if self.method.needs_physical_state() and not contract.is_localizable:
            yield Problem(
                ("method",),
                f"localization needs cells with a position, and the state of model '{self.model}' has none; "
                "remove `localization`, or choose a model whose state is the field",
            )
        if self.method.needs_cells() and self.observations.position != "nearest":
            yield Problem(
                ("observations", "position"),
                f"'{self.method.kind}' takes values of cells alone; write `position: nearest`, or take "
                "another method",
            )
        if self.method.needs_correction() and not contract.has_correction:
            yield Problem(("method",), f"'{self.method.kind}' needs a model that learned a gain")
        if isinstance(self.method, SmootherSpec) and self.method.lag != 1:
            yield Problem(
                ("method", "lag"), "the window of a cycle is that of its smoother; remove `lag` and `shift`"
            )
        for part, problems in (
            ("method", self.method.check(contract.fields)),
            ("observations", self.observations.check(contract.fields)),
        ):
            yield from (problem.below(part) for problem in problems)
        if self.records(contract.fields.time.step) is None:
            apart = self.cycle.record or contract.fields.time.step
            yield Problem(
                ("cycle", "step"),
                f"'{self.cycle.step}' is no whole number of records of the model, which are {apart} apart; "
                "choose a multiple, or say with `record` how long one of model time is",
            )

    def guess_rules(self, found: Contract, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield why a dataset is no first guess for a model of these fields."""
        if found.fields.axes != fields.axes:
            yield Problem(("first_guess",), f"'{self.first_guess}' is on another grid than the model")
        if found.fields.variables != fields.variables:
            names = [
                ", ".join(f"{name} ({units})" for name, units in info.variables.items())
                for info in (found.fields, fields)
            ]
            yield Problem(
                ("first_guess",), f"'{self.first_guess}' holds {names[0]}; the model has {names[1]}"
            )
        if found.fields.is_stationary:
            yield Problem(("first_guess",), f"'{self.first_guess}' holds fields without a time")

    def record(self, step: float | str) -> Duration | None:
        """Return the time of one record of the model, whose data have the time step `step`."""
        if self.cycle.record is not None:
            return parse_duration(self.cycle.record)
        return parse_duration(step) if isinstance(step, str) and step else None

    def records(self, step: float | str) -> int | None:
        """Return the records of the model in one step of the cycle."""
        record = self.record(step)
        return None if record is None else steps_in(parse_duration(self.cycle.step), record)


@dataclass(frozen=True)
class LoadedCycle:
    """A cycle that passed every check."""

    cycle: Cycle
    file: FilePath
    earlier: Earlier
    """The model."""


def load_cycle(file: str | FilePath, overrides: Sequence[str], lookup: Lookup) -> LoadedCycle:
    """Return the cycle in a file, checked whole.

    Args:
        file: YAML.
        overrides: `a.b.c=value`, each as after `--set`.
        lookup: Finds the model.

    Raises:
        PipelineInvalid: With every fault at once.
    """
    path = FilePath(file)
    root = with_overrides(read_extended(path), overrides)
    value: dict[str, Any] = plain(root)
    folder = FilePath(path).absolute().parent
    try:
        cycle = Cycle.model_validate(value, context={"folder": folder})
    except ValidationError as error:
        raise PipelineInvalid(translate(error, value, Cycle, root)) from error
    problems = list(cycle.problems())
    earlier: Earlier | None = None
    if cycle.model.run is not None:
        try:
            earlier = lookup(cycle.model)
        except KoopcastError as error:
            problems.append(Problem(("model",), str(error)))
        else:
            problems += cycle.rules(earlier)
            problems += _first_guess(cycle, earlier, lookup)
    if problems or earlier is None:
        raise PipelineInvalid([_fault(root, problem.path, problem.message) for problem in problems])
    return LoadedCycle(cycle, path, earlier)


def _first_guess(cycle: Cycle, earlier: Earlier, lookup: Lookup) -> list[Problem]:
    """Return what is wrong with the dataset from which windows start, where there is one."""
    ref = cycle.first_guess
    if not isinstance(ref, Ref) or ref.run is None:
        return []
    try:
        found = fitting(ref, lookup(ref).contract)
    except KoopcastError as error:
        return [Problem(("first_guess",), str(error))]
    return list(cycle.guess_rules(found, earlier.contract.fields))


def _fault(root: Mapping, path: Path, message: str) -> Fault:
    return mark_of(root, path).fault(path, message)
