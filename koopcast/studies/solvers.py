"""Solvers side by side on one sequence of linear systems."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt, model_validator

from koopcast.linear import LinearProblem, Profile, Solution, Status
from koopcast.progress import report
from koopcast.rng import numpy_generator
from koopcast.solvers import AnySolver
from koopcast.solvers.auto import AutoSpec
from koopcast.solvers.base import SolverSpec, solve_all
from koopcast.solvers.cg import CGSpec
from koopcast.studies.base import ALL, Findings, StudySpec
from koopcast.studies.sequences import Name, Parameters, draw_problems, refuse_unvaried, stationary
from koopcast.systems import AnySystem
from koopcast.systems.darcy import DarcySpec

UNITS = {"iterations": "1", "applications": "1", "seconds": "s", "residual": "1", "failed": "1"}


class SolversSpec(StudySpec):
    """Every solver solves the same sequence of systems: what each takes, and whether it succeeds."""

    kind: Literal["solvers"] = "solvers"
    system: AnySystem = DarcySpec(points=33)
    """Stationary system that poses the linear systems."""
    parameters: Parameters = {}
    """Options of the system that differ from sample to sample, and their laws; default: none."""
    samples: int = Field(10, ge=1, le=100_000)
    """Systems in the sequence."""
    solvers: dict[Name, AnySolver] = Field({"auto": AutoSpec(), "cg": CGSpec()}, min_length=1)
    """Names -> solvers."""
    rounds: PositiveInt = 3
    """How often each solver goes through the sequence, in turn with the others; the least time counts."""

    reference = "the library's own; all solvers of a comparison meet the same systems"

    @model_validator(mode="after")
    def _solvers_suit_the_system(self) -> "SolversSpec":
        refuse_unvaried(self.system, self.parameters)
        profile = self._profile()
        for name, solver in self.solvers.items():
            refusal = solver.refusal(profile)
            if refusal is not None:
                raise ValueError(f"solvers: '{name}' does not suit {self.system.kind}: {refusal}")
        return self

    def _profile(self) -> Profile:
        return stationary(self.system).profile(tuple(self.parameters))

    def metrics(self) -> Mapping[str, str]:
        """Return means of a system (iterations, applications of the matrix, seconds), the greatest residual
        and the number of systems that did not converge.
        """
        return UNITS

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the solvers, with one score each."""
        return dict.fromkeys(self.solvers, ())

    def run(self, seed: int) -> Findings:
        """Draw the sequence, let all solvers through it in turn, and summarise."""
        problems = draw_problems(stationary(self.system), self.parameters, self.samples, seed, self.kind)
        rows: dict[str, pd.DataFrame] = {}
        for turn in range(self.rounds):
            for name, solver in self.solvers.items():
                found = _passage(solver, self._profile(), problems, numpy_generator(seed, self.kind, name))
                seconds = found["seconds"]
                rows[name] = found.assign(
                    seconds=np.minimum(seconds, rows[name]["seconds"]) if turn else seconds
                )
            report("round", turn + 1, self.rounds)
        summary = pd.DataFrame([_summary(name, table) for name, table in rows.items()])
        scores = {
            metric: {name: {ALL: float(value)} for name, value in zip(rows, summary[metric], strict=True)}
            for metric in UNITS
        }
        profile = self._profile()
        methods = [solver.reason(profile) for solver in self.solvers.values()]
        systems = pd.concat([table.assign(solver=name) for name, table in rows.items()], ignore_index=True)
        systems.insert(0, "solver", systems.pop("solver"))
        return Findings(scores, {"solvers": summary.assign(method=methods), "systems": systems})


def _passage(
    spec: SolverSpec, profile: Profile, problems: Sequence[LinearProblem], generator: np.random.Generator
) -> pd.DataFrame:
    """Return one row a system, in the order of the sequence; set-up counts to the system that needs it."""
    rows: list[dict[str, float | int | str]] = []
    start = perf_counter()
    for place, solution in solve_all(spec, profile, problems, generator):
        seconds = perf_counter() - start
        rows.append(
            {"system": place, "turn": len(rows), "seconds": seconds, **_row(problems[place], solution)}
        )
        start = perf_counter()
    return pd.DataFrame(rows).sort_values("system", ignore_index=True)


def _row(problem: LinearProblem, solution: Solution) -> dict[str, float | int | str]:
    size = float(np.linalg.norm(problem.rhs))
    defect = float(np.linalg.norm(problem.rhs - problem.matrix @ solution.value))
    return {
        "iterations": solution.iterations,
        "applications": solution.applications,
        "residual": defect / size if size else defect,
        "status": solution.status.value,
        **solution.figures,
    }


def _summary(name: str, table: pd.DataFrame) -> dict[str, float | int | str]:
    return {
        "solver": name,
        **{metric: float(table[metric].mean()) for metric in ("iterations", "applications", "seconds")},
        "residual": float(table["residual"].max()),
        "failed": int((table["status"] != Status.CONVERGED.value).sum()),
    }
