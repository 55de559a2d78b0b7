"""The recipes of samples without time: solutions of linear systems, and what is drawn and not solved for."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from koopcast.errors import ComputeError, Diverged, ShapeMismatch, Underresolved
from koopcast.generation.provenance import empty, origin
from koopcast.generation.recipe import Advance, Attempts, Made, Recipe, Write
from koopcast.generation.thinning import thin
from koopcast.grids import FieldsInfo, TimeAxis
from koopcast.linear import LinearProblem, Profile, Solution, Status
from koopcast.rng import numpy_generator
from koopcast.solvers.base import SolverSpec, solve_all
from koopcast.systems.base import DrawnSpec, StationarySpec, SystemSpec

Fields = Mapping[str, Float[np.ndarray, "*space"]]


@dataclass(frozen=True)
class Snapshot:
    """One sample: its fields, its figures, and why it is refused if it is."""

    sample: int
    fields: Fields
    figures: dict[str, float] = field(default_factory=dict)
    error: ComputeError | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshots(Recipe):
    """Samples of one field each."""

    unit = "sample"
    work_of_sample = 1

    @property
    @abstractmethod
    def spec(self) -> SystemSpec:
        """The system."""

    @abstractmethod
    def attempt(self, samples: list[int], block: int, attempt: int) -> Iterator[Snapshot]:
        """Make samples of a block, in any order."""

    @property
    def computed(self) -> FieldsInfo:
        """The contract of the fields as they are computed."""
        return described(self.spec, self.samples)

    @property
    def mask(self) -> Bool[np.ndarray, "*space"] | None:
        """Where the domain has points; None where everywhere."""
        return self.spec.mask() if isinstance(self.spec, StationarySpec) else None

    def template(self) -> xr.Dataset:
        """Return the dataset, its fields lazy and empty."""
        return empty(self.spec, self.info, self.dtype, self.every_point, self.mask)

    def make(self, block: int, write: Write, advance: Advance) -> Made:
        """Make the samples of a block, one after another.

        Raises:
            Diverged: A sample is not finite, or its linear system was not solved.
            Underresolved: A residual is above the tolerance.
        """
        members, info, computed = self.members(block), self.info, self.computed
        mask = self.mask
        values = {name: np.empty((len(members), *info.shape), self.dtype) for name in info.variables}
        figures: list[dict[str, float]] = [{} for _ in members]
        attempts = Attempts(self, block)
        for samples in attempts:
            for made in self.attempt(samples, block, attempts.number):
                error = made.error or _not_finite(self.spec, made, computed, mask)
                if error is not None:
                    attempts.refuse(made.sample, error)
                    continue
                row = made.sample - members.start
                for name, array in values.items():
                    field = made.fields[name] if mask is None else np.where(mask, made.fields[name], np.nan)
                    array[row] = thin(np.asarray(field), 0, array.ndim - 1, self.every_point)
                figures[row] = made.figures | self._drawn_figures(made.sample, attempts.number)
                advance(1)
        write(members.start, None, values)
        names = sorted({name for row in figures for name in row})
        columns = {name: [float(row.get(name, np.nan)) for row in figures] for name in names}
        refused = {str(sample): reason for sample, reason in sorted(attempts.reasons.items())}
        return Made(columns, refused)

    def _drawn_figures(self, sample: int, attempt: int) -> dict[str, float]:
        weight = {"weight": self.draws.weight(sample, attempt)} if self.draws.is_weighted else {}
        return self.draws.parameters(sample, attempt) | weight


@dataclass(frozen=True, kw_only=True)
class Solutions(Snapshots):
    """Samples of a stationary system: what is given, and the solution."""

    system: StationarySpec
    solver: SolverSpec
    residual_tol: float = 1e-6

    @property
    def spec(self) -> StationarySpec:
        """The system."""
        return self.system

    @property
    def profile(self) -> Profile:
        """What the matrices of all samples have in common."""
        return self.system.profile(self.draws.names)

    def attributes(self) -> dict[str, str | float | int]:
        """Return equation, solver, why it was chosen, and tolerances."""
        return origin(
            self.system,
            self.draws,
            solver=self.solver.kind,
            solver_options=self.solver.model_dump(mode="json", exclude={"kind"}),
            reason=self.solver.reason(self.profile),
            tolerances={"residual": self.residual_tol},
            every_point=self.every_point if self.every_point > 1 else None,
        )

    def attempt(self, samples: list[int], block: int, attempt: int) -> Iterator[Snapshot]:
        """Draw what is given, and solve the systems in the order that the solver prefers."""
        given, problems = [], []
        for sample in samples:
            parameters = self.draws.parameters(sample, attempt)
            given.append(self.system.draw(self.draws.generator(sample, attempt), parameters))
            problems.append(self.system.problem(given[-1], parameters))
        stream = numpy_generator(self.draws.seed, "solver", block, attempt)
        for place, solution in solve_all(self.solver, self.profile, problems, stream):
            yield self._snapshot(samples[place], given[place], problems[place], solution)

    def _snapshot(self, sample: int, given: Fields, problem: LinearProblem, solution: Solution) -> Snapshot:
        figures = {
            "residual": solution.residual,
            "iterations": float(solution.iterations),
            "applications": float(solution.applications),
            **solution.figures,
        }
        error = self._fault(sample, solution)
        fields = {} if error else {**given, **self.system.solution(given, solution.value)}
        return Snapshot(sample, fields, figures, error)

    def _fault(self, sample: int, solution: Solution) -> ComputeError | None:
        what = f"the linear system of sample {sample} of {self.system.kind}"
        steps = f"{self.solver.kind} stopped after {solution.iterations} iterations"
        if solution.status is not Status.CONVERGED:
            return Diverged(
                f"{what} was not solved: {steps}, {solution.status}, at a relative residual of "
                f"{solution.residual:.2g}",
                "choose another solver or preconditioner, or allow more iterations",
            )
        if not solution.residual <= self.residual_tol:
            return Underresolved(
                f"{what} has a relative residual of {solution.residual:.2g}, above {self.residual_tol:g}",
                "lower the tolerance of the solver, or raise `defect_tol`",
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Drawings(Snapshots):
    """Samples that are drawn and nothing more."""

    system: DrawnSpec

    @property
    def spec(self) -> DrawnSpec:
        """The system."""
        return self.system

    def attributes(self) -> dict[str, str | float | int]:
        """Return the law."""
        return origin(self.system, self.draws)

    def attempt(self, samples: list[int], block: int, attempt: int) -> Iterator[Snapshot]:
        """Draw each sample from its own stream."""
        for sample in samples:
            stream, parameters = self.draws.generator(sample, attempt), self.draws.parameters(sample, attempt)
            yield Snapshot(sample, self.system.draw(stream, parameters))


def described(system: SystemSpec, samples: int) -> FieldsInfo:
    """Return the contract of samples without time."""
    return replace(system.describe(), samples=samples, time=TimeAxis(1, ""))


def _not_finite(
    system: SystemSpec, made: Snapshot, info: FieldsInfo, mask: Bool[np.ndarray, "*space"] | None
) -> ComputeError | None:
    for name in info.variables:
        values = np.asarray(made.fields[name])
        if values.shape != info.shape:
            raise ShapeMismatch(
                f"'{name}' of {system.kind} has the shape {values.shape}, its description says {info.shape}"
            )
        if not np.isfinite(values if mask is None else values[mask]).all():
            return Diverged(
                f"'{name}' of sample {made.sample} of {system.kind} is not finite", "change its law"
            )
    return None
