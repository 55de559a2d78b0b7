"""A search that chooses the points of a sweep one after the other, by what the former ones scored."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows.earlier import lookup
from koopcast.rng import derived_seed
from schemas.faults import PipelineInvalid
from schemas.keys import canonical_json
from schemas.links import ordered
from schemas.optimum import searched
from schemas.plan import Planned, Planner
from schemas.points import At, Points
from schemas.sweep import OptunaSearch, Range, rounded
from tasks.sweep import objective

if TYPE_CHECKING:
    from flows.run import Steps

JOURNAL = "search.journal"
"""Of the trials, in the folder of the run: what the dashboard of Optuna reads."""


def search(steps: "Steps") -> list[Planned]:
    """Return the points that were tried, each settled; none where the pipeline has no such search.

    Trials follow from the seed and the scores alone, so that a run that was stopped asks for the same points
    again, and finds them in the store.
    """
    prepared = steps.prepared
    points = prepared.plan.loaded.points
    if points is None or not isinstance(points.sweep.search, OptunaSearch) or prepared.request.only:
        return []
    return _Search(steps, points, points.sweep.search).carry_out()


class _Search:
    """The trials of one run."""

    def __init__(self, steps: "Steps", points: Points, options: OptunaSearch) -> None:
        self._steps, self._points, self._options = steps, points, options
        plan = steps.prepared.plan
        self._known = {planned.name: planned for planned in plan.steps}
        self._planner = Planner(plan.loaded, lookup(steps.prepared.store.uri), None, dict(self._known))
        self._name, self._subject = searched(points)

    def carry_out(self) -> list[Planned]:
        """Try as many points as the search has trials; return what was planned for them."""
        sweep = self._points.sweep
        for size in sweep.values(sweep.per) if sweep.per is not None else [None]:
            self._study(size)
        journal = self._steps.run.path / JOURNAL
        self._steps.run.write(JOURNAL, journal.read_bytes())
        return [planned for name, planned in self._planner.done.items() if name not in self._known]

    def _study(self, size: int | None) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = self._steps.prepared.plan.loaded.pipeline.seed
        sign = self._points.sweep.sign
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(self._steps.run.path / JOURNAL))),
            study_name=self._subject if size is None else f"{self._subject} n={size}",
            direction="minimize" if sign > 0 else "maximize",
            sampler=optuna.samplers.TPESampler(
                seed=derived_seed(seed, "search", str(size)) % 2**32, n_startup_trials=self._options.startup
            ),
        )
        for number in range(self._options.trials):
            trial = study.ask()
            value = self._tried(tuple(self._chosen(trial, size)))
            study.tell(trial, value if math.isfinite(value) else sign * math.inf)
            self._steps.say(f"{self._subject:<16} trial     {number + 1}/{self._options.trials} {value:.4g}")

    def _chosen(self, trial: Any, size: int | None) -> Iterator[tuple[str, str]]:
        """Yield path and value of each axis."""
        sweep = self._points.sweep
        for path, axis in sweep.over.items():
            value: Any
            if path == sweep.per:
                value = size
            elif isinstance(axis, Range) and axis.count is None:
                draw = trial.suggest_int if axis.is_whole else trial.suggest_float
                value = draw(path, axis.low, axis.high, log=axis.log)
                value = value if axis.is_whole else rounded(value)
            else:
                values = sweep.values(path)
                value = values[trial.suggest_categorical(path, list(range(len(values))))]
            yield path, canonical_json(value)

    def _tried(self, values: tuple[tuple[str, str], ...]) -> float:
        """Return the score of a combination: NaN where it cannot be, or was lost."""
        points, scored = self._points, list[Planned]()
        todo: list[Planned] = []
        try:
            for name in (name for name in ordered(points.steps) if name in points.reach):
                for repetition in range(points.sweep.seeds):
                    todo.append(self._planner.add(points.instance(name, At(values, repetition))))
                    scored += todo[-1:] if name == self._name else []
        except PipelineInvalid as error:
            self._steps.say(f"{self._subject:<16} trial     left out: {error}")
            return math.nan
        todo = list({p.name: p for p in todo if p.name not in self._steps.results}.values())
        self._steps.carry_out(todo)
        rows = self._steps.rows(list({planned.name: planned for planned in scored}.values()))
        return objective(self._subject, rows, points, self._steps.prepared.store)
