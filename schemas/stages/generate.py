"""The step that makes data from a known system."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from koopcast.distributions import AnyDistribution
from koopcast.distributions.base import DistributionSpec
from koopcast.dynamics import form_of
from koopcast.generation import Sizes, described, faulty_thinning, kept
from koopcast.grids import FieldsInfo
from koopcast.integrators import AnyIntegrator, IntegratorSpec
from koopcast.samplers import AnySampler
from koopcast.solvers import AnySolver
from koopcast.solvers.base import SolverSpec
from koopcast.spec import Problem
from koopcast.split import Split, apply_split
from koopcast.systems import AnySystem
from koopcast.systems.base import DrawnSpec, EvolvingSpec, StationarySpec, SystemSpec
from schemas.references import Dataset, Kind, Model
from schemas.stages.base import NOT_IN_KEY, Contract, Inputs, Step, split_parts

SYSTEM = "system"
"""The part of a `generate` step that is its true model."""
EDGE = 1e-12
"""Share of a law beyond the values that are tried on the system."""
EVOLVING_ALONE = (
    "integrator",
    "steps",
    "dt",
    "record_every",
    "burn_in",
    "verify_tol",
    "tail_tol",
    "arithmetic",
)
"""Options that only a system with a time has."""
DEFECT, RESIDUAL = 1e-3, 1e-6
"""Defaults of `defect_tol`."""


class GenerateStep(Step):
    """Make samples of a system: trajectories from drawn states, solutions of drawn equations, or draws alone.

    Parts: those of the split, and `system` (the true model of a system that evolves, where nothing is
    varied and every point is kept).
    """

    yields: ClassVar[type[Kind]] = Dataset
    task: Literal["generate"] = "generate"
    system: AnySystem
    """What evolves, is solved for, or is drawn."""
    integrator: AnyIntegrator | None = None
    """Of a system that evolves; default: what suits the system."""
    solver: AnySolver | None = None
    """Of a stationary system; default: auto."""
    samples: PositiveInt = Field(1, le=10**7)
    """Each from random numbers of its own: fewer samples are the first ones of more."""
    steps: PositiveInt = Field(1000, le=10**7)
    """Records kept of each sample."""
    dt: Annotated[float, Field(gt=0)] | None = None
    """Integration step in the system's time unit; default: accurate for the system's own parameters."""
    record_every: PositiveInt = Field(1, le=10**6)
    """Integration steps between two records."""
    burn_in: NonNegativeInt = Field(0, le=10**9)
    """Records thrown away before the first that is kept."""
    parameters: dict[str, AnyDistribution] = {}
    """Options of the system that differ from sample to sample, and the law of each."""
    design: AnySampler | None = None
    """How the samples lie over the laws of `parameters`; default: iid."""
    block: PositiveInt | None = Field(None, le=10**6)
    """Samples made together, by one worker, on disk at once; default: by their size."""
    every_point: PositiveInt = Field(1, le=10**4)
    """Keep every so many grid points along each space axis: the system is computed on all of them."""
    arithmetic: Literal["float64", "float32"] = "float64"
    """Precision of the integration."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the stored fields."""
    verify_tol: Annotated[float, Field(gt=0)] = 1e-2
    """Most that halving dt may change over a Lyapunov time, as a share of the fields' standard deviation."""
    tail_tol: Annotated[float, Field(gt=0)] = 1e-6
    """Most of the energy that the finest tenth of the modes may hold; above it the grid is too coarse."""
    defect_tol: Annotated[float, Field(gt=0)] | None = None
    """Largest relative drift of an invariant (default 0.001), or relative residual of a linear system
    (default 1e-6), of a sample that is kept."""
    max_failed_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the samples that may be refused and drawn anew; above it the run fails and says why."""
    stream: str | None = Field(None, min_length=1, max_length=60, json_schema_extra=NOT_IN_KEY)
    """Name of the random stream; default: the step's own name. Steps of one stream draw the same samples."""
    split: Split | None = None
    """Parts `train`, `valid` and `test`; without it the dataset stays whole."""

    def parts(self) -> dict[str, type[Kind]]:
        """Return the parts of the split, and the true model where all samples have the same, on the grid that
        is stored.
        """
        has_model = isinstance(self.system, EvolvingSpec) and not self.parameters and self.every_point == 1
        return {**split_parts(self.split), **({SYSTEM: Model} if has_model else {})}

    def stream_name(self, name: str) -> str:
        """Return the name of the random stream of the step `name`."""
        return self.stream or name

    def record_step(self, system: EvolvingSpec) -> float:
        """Return the time between two records."""
        return float(f"{(self.dt or system.default_time_step()) * self.record_every:.12g}")

    def chosen_integrator(self, system: EvolvingSpec) -> IntegratorSpec:
        """Return the integrator, or what suits the system."""
        if self.integrator is not None:
            return self.integrator
        adapter: TypeAdapter[IntegratorSpec] = TypeAdapter(AnyIntegrator)
        return adapter.validate_python(system.default_integrator())

    def chosen_solver(self) -> SolverSpec:
        """Return the solver, or the one that chooses."""
        if self.solver is not None:
            return self.solver
        adapter: TypeAdapter[SolverSpec] = TypeAdapter(AnySolver)
        return adapter.validate_python("auto")

    def tolerance(self) -> float:
        """Return the largest defect or residual of a sample."""
        if self.defect_tol is not None:
            return self.defect_tol
        return DEFECT if isinstance(self.system, EvolvingSpec) else RESIDUAL

    def modules(self) -> tuple[str, ...]:
        """Return the generation, and the method that is chosen."""
        system: SystemSpec = self.system
        if isinstance(system, EvolvingSpec):
            return ("koopcast.generation.trajectories", type(self.chosen_integrator(system)).__module__)
        if isinstance(system, StationarySpec):
            return ("koopcast.generation.snapshots", type(self.chosen_solver()).__module__)
        return ("koopcast.generation.snapshots",)

    def outline(self, inputs: Inputs) -> Contract:
        """Return what the system says of its fields, with the counts of this step, and without points that
        are not kept.
        """
        info = kept(self.computed(), self.every_point, is_varied=bool(self.parameters))
        step = 0.0 if info.is_stationary else float(info.time.step)
        return Contract(Dataset, self._split(info, np.round(step * np.arange(info.time.size), 12)))

    def computed(self) -> FieldsInfo:
        """Return the contract of all that is computed: of all points, without parts."""
        system: SystemSpec = self.system
        if not isinstance(system, EvolvingSpec):
            return described(system, self.samples)
        info = system.describe()
        time = replace(info.time, size=self.steps, step=self.record_step(system))
        return replace(info, time=time, samples=self.samples)

    def sizes(self) -> Sizes:
        """Return how many samples are made together, and what is stored of them."""
        return Sizes.of(self.outline({}).fields, self.dtype, self.block, self.computed())

    def _split(self, info: FieldsInfo, times: np.ndarray) -> FieldsInfo:
        if self.split is None or (info.is_stationary and self.split.time is not None):
            return info
        return apply_split(info, self.split, times)

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse methods that cannot solve the equation, options without meaning, impossible parameters."""
        system: SystemSpec = self.system
        yield from self._options_have_meaning(system)
        yield from self._parameters_vary(system)
        if isinstance(system, EvolvingSpec):
            yield from self._integrator_fits(system)
            if self.dt is not None and (fault := system.faulty_step(self.dt)):
                yield Problem(("dt",), fault)
        elif isinstance(system, StationarySpec):
            refusal = self.chosen_solver().refusal(system.profile(tuple(self.parameters)))
            if refusal:
                yield Problem(("solver",), refusal)
        if not isinstance(system, DrawnSpec) and (fault := faulty_thinning(system, self.every_point)):
            yield Problem(("every_point",), fault)

    def _integrator_fits(self, system: EvolvingSpec) -> Iterator[Problem]:
        form, integrator = form_of(system.problem()), self.chosen_integrator(system)
        if not integrator.takes(form):
            yield Problem(
                ("integrator",),
                f"'{integrator.kind}' does not solve a {form} equation such as that of '{system.kind}'; "
                f"use '{system.default_integrator()}'",
            )

    def _options_have_meaning(self, system: SystemSpec) -> Iterator[Problem]:
        what = {EvolvingSpec: "evolves", StationarySpec: "is stationary", DrawnSpec: "is drawn"}
        state = next(words for form, words in what.items() if isinstance(system, form))
        foreign: list[str] = [] if isinstance(system, EvolvingSpec) else list(EVOLVING_ALONE)
        if not isinstance(system, StationarySpec):
            foreign.append("solver")
        if isinstance(system, DrawnSpec):
            foreign += ["defect_tol", "every_point"]
        for name in foreign:
            if name in self.model_fields_set:
                yield Problem((name,), f"'{system.kind}' {state} and takes no `{name}`; remove it")
        if self.split is not None and self.split.time is not None and not isinstance(system, EvolvingSpec):
            yield Problem(("split", "time"), f"'{system.kind}' {state} and has no time; split it by `sample`")

    def _parameters_vary(self, system: SystemSpec) -> Iterator[Problem]:
        for name, law in self.parameters.items():
            if name not in type(system).varied:
                known = ", ".join(type(system).varied) or "none"
                yield Problem(
                    ("parameters", name),
                    f"'{name}' of '{system.kind}' cannot differ from sample to sample (what can: {known}); "
                    "remove it",
                )
            elif fault := _beyond(system, name, law):
                yield Problem(("parameters", name), fault)
        if self.design is None:
            return
        if not self.parameters:
            yield Problem(("design",), "there are no `parameters` to lay out; name some or remove it")
        elif not self.design.lays_points:
            yield Problem(("design",), f"'{self.design.kind}' chooses rows of a table; use sobol or iid")
        else:
            functions = self.design.num_functions(self.samples, len(self.parameters))
            if fault := self.design.faulty_count(self.samples, functions):
                yield Problem(("samples",), fault)


def _beyond(system: SystemSpec, name: str, law: DistributionSpec) -> str | None:
    """Return why the system does not take the extreme values of a law; None where it does."""
    for value in law.quantile(np.array([EDGE, 1 - EDGE])).tolist():
        given: Mapping[str, Any] = {**system.model_dump(), name: value}
        try:
            type(system).model_validate(given)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            return (
                f"the law '{law.kind}' reaches {value:g}, which '{system.kind}' does not take as '{name}' "
                f"({reason}); narrow the law"
            )
    return None
