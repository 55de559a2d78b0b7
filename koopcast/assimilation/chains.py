"""Chains of analyses: what filters and smoothers do from one observation time to the next."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.assimilation.base import (
    Analysis,
    FilterSpec,
    Observed,
    Propagating,
    Remembering,
    Setting,
    SmootherSpec,
    Weighing,
    Window,
    standardised,
)
from koopcast.assimilation.guards import diverged, usual_size
from koopcast.assimilation.screening import Screening
from koopcast.assimilation.state import CycleState, of_method
from koopcast.assimilation.windows import Grouped, first_guess
from koopcast.dynamics import Dynamics
from koopcast.numerics.arrays import normal
from koopcast.numerics.geometry import domain_of
from koopcast.observations.base import ObservationSet
from koopcast.observations.quality import is_used
from koopcast.progress import report

if TYPE_CHECKING:
    from koopcast.assimilation.cycle import Experiment

REPORT_SECONDS = 0.1
"""Least time between two reports of progress."""
Forecast = Callable[[Tensor, torch.Generator], Tensor]
"""(ensemble "batch member state", generator) -> ensemble one record later."""
SUMS = ("chi_square", "degrees_of_freedom", "log_evidence")
"""Figures of a window that are sums over its observations."""


@runtime_checkable
class Taker(Protocol):
    """What takes in the cycles of a run, one after another."""

    @property
    def is_full(self) -> bool:
        """Whether the run should pause."""

    def add(
        self,
        background: Float[Tensor, "batch member state"],
        analysis: Analysis,
        flag: Int[Tensor, "batch obs"] | None = None,
        predicted: Float[Tensor, "batch member obs"] | None = None,
    ) -> None:
        """Take in one observation time."""


class Cycling:
    """What filters and smoothers share: the observations, the record of progress, a memory."""

    def __init__(self, experiment: "Experiment", memory: dict[str, Tensor]) -> None:
        self.observations, self.dynamics = experiment.observations, experiment.dynamics
        self.records, self.total = self.observations.record.tolist(), self.observations.num_times
        self.is_empty = self.observations.is_empty.tolist()
        flag = self.observations.flag
        value, scale = standardised(self.observations.value.double(), self.observations.variance.double())
        self._values, self._scales = value.unbind(1), list((scale * is_used(flag)).unbind(1))
        self._fixed = self.observations.index[:, 0] if self.observations.is_fixed else None
        self._sees_all = self._fixed is not None and _sees_state(
            self.observations, self._fixed, self.dynamics
        )
        self._is_of_cells = self.observations.operator is None
        self._sees_entries = self._is_of_cells and self.dynamics.is_physical
        truth = experiment.truth
        self.screening = Screening(self.observations, domain_of(truth), truth.info.num_channels)
        self._reported = 0.0
        self._memory = of_method(memory)
        self._method: object = None

    def remember(self, method: object) -> None:
        """Give a method what it remembered when the state was saved."""
        self._method = method
        if isinstance(method, Remembering) and self._memory:
            method.memory = dict(self._memory)

    @property
    def memory(self) -> dict[str, Tensor]:
        """What the method remembers now."""
        return self._method.memory if isinstance(self._method, Remembering) else {}

    def observed(self, ensemble: Float[Tensor, "batch member state"], cycle: int) -> Observed:
        """Return what an analysis sees at an observation time."""
        index = self.observations.index[:, cycle] if self._fixed is None else self._fixed
        predicted = self._seen(cycle, ensemble)
        see = None if self._sees_entries else partial(self._seen, cycle)
        return Observed(self._values[cycle], self._scales[cycle], predicted, index, see, self._is_of_cells)

    def _seen(self, cycle: int, ensemble: Float[Tensor, "batch member state"]) -> Tensor:
        if self._sees_all:
            return ensemble
        return self.observations.seen(cells_of(self.dynamics, ensemble), cycle)

    def untouched(self, ensemble: Float[Tensor, "batch member state"]) -> Analysis:
        """Return the background as the analysis of times without observations."""
        weights = self._method.log_weight(ensemble).exp() if isinstance(self._method, Weighing) else None
        return Analysis(ensemble, weights=weights, background_weights=weights)

    def screened(self, observed: Observed, cycle: int) -> tuple[Observed, Int[Tensor, "batch obs"] | None]:
        """Return what quality control lets through at a time, and the flags where they change."""
        if not self.screening.is_needed:
            return observed, None
        observed, flag = self.screening(observed, cycle)
        self._scales[cycle] = observed.scale
        return observed, flag

    def report(self, done: int) -> None:
        """Report progress once in a while."""
        if time.perf_counter() - self._reported > REPORT_SECONDS:
            self._reported = time.perf_counter()
            report("cycle", done, self.total)


class Filtering(Cycling):
    """Forecast to an observation time, analyse there, carry on."""

    def __init__(self, experiment: "Experiment", setting: Setting, memory: dict[str, Tensor]) -> None:
        super().__init__(experiment, memory)
        assert isinstance(experiment.method, FilterSpec)
        self._analyse = experiment.method.build(setting)
        self.remember(self._analyse)
        self._forecast = forecasting(self.dynamics, setting, self._analyse)
        self._usual = 0.0

    def advance(self, state: CycleState, recorder: Taker) -> CycleState:
        """Cycle until the recorder is full or observations end; return the state after it."""
        generator, ensemble, now = state.generator, state.ensemble, state.record
        self._usual = self._usual or usual_size(ensemble)
        for cycle in range(state.cycle, self.total):
            reached = self._reach(ensemble, now, cycle, generator)
            now = self.records[cycle]
            try:
                analysis, flag = self._analysis(reached, cycle, generator)
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
                raise diverged(
                    reached.ensemble, cycle, self.total, before=ensemble, usual=self._usual
                ) from error
            recorder.add(reached.ensemble, analysis, flag, reached.seen)
            ensemble = analysis.ensemble if analysis.carried is None else analysis.carried
            self.report(cycle + 1)
            if recorder.is_full:
                break
        return CycleState(ensemble, generator, cycle + 1, now)

    def _reach(self, ensemble: Tensor, now: int, cycle: int, generator: torch.Generator) -> "Reached":
        """Forecast to an observation time, and on to the end of its window where it has one."""
        operator, then = self.observations.operator, self.records[cycle]
        is_windowed = isinstance(operator, Grouped) and operator.options.first_guess != "at_analysis"
        if not is_windowed:
            for _ in range(then - now):
                ensemble = self._forecast(ensemble, generator)
            return Reached(ensemble)
        assert isinstance(operator, Grouped)
        begin = then - operator.options.place
        parts, background = {}, ensemble
        for record in range(now + 1, begin + operator.options.records + 1):
            before = cells_of(self.dynamics, ensemble) if operator.is_early else None
            ensemble = self._forecast(ensemble, generator)
            if record > begin:
                place = record - begin - 1
                parts[place] = operator.part(cells_of(self.dynamics, ensemble), cycle, place, before)
            if record == then:
                background = ensemble
        return Reached(background, operator.together(parts))

    def _analysis(
        self, reached: "Reached", cycle: int, generator: torch.Generator
    ) -> tuple[Analysis, Int[Tensor, "batch obs"] | None]:
        if self.is_empty[cycle]:
            return self.untouched(reached.ensemble), None
        observed = self.observed(reached.ensemble, cycle)
        if reached.seen is not None:
            assert isinstance(self.observations.operator, Grouped)
            guess = first_guess(reached.seen, observed.predicted, self.observations.operator.options)
            observed = observed._replace(predicted=guess)
        observed, flag = self.screened(observed, cycle)
        return self._analyse(reached.ensemble, observed, generator), flag


class Reached(NamedTuple):
    """A background, and what its observations see of the records of their own where they have some."""

    ensemble: Float[Tensor, "batch member state"]
    seen: Float[Tensor, "batch member obs"] | None = None


class Smoothing(Cycling):
    """Analyse the start of a window by the observations in it, forecast through it, move the window on."""

    def __init__(self, experiment: "Experiment", setting: Setting, memory: dict[str, Tensor]) -> None:
        super().__init__(experiment, memory)
        assert isinstance(experiment.method, SmootherSpec)
        self._lag, self._shift = experiment.method.lag, experiment.method.shift
        self._smooth = experiment.method.build(setting)
        self.remember(self._smooth)
        self._present = is_used(self.observations.flag).sum(dim=2).double()

    def advance(self, state: CycleState, recorder: Taker) -> CycleState:
        """Move windows on until the recorder is full or observations end; return the state after it."""
        generator, ensemble, now, cycle = state.generator, state.ensemble, state.record, state.cycle
        while cycle < self.total and not recorder.is_full:
            times = range(cycle, min(cycle + self._shift, self.total))
            window = self._window(times, now)
            background = list(window.trajectory(ensemble))
            flags = [self._screen(before, time_of) for before, time_of in zip(background, times, strict=True)]
            try:
                analysis = self._analysis(ensemble, window, times, generator)
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
                raise diverged(background[-1], times[-1], self.total) from error
            path = analysis.path
            after = list(window.trajectory(analysis.ensemble) if path is None else path)
            for time_of, before, then, flag in zip(times, background, after, flags, strict=True):
                figures = self._share(analysis, time_of, times)
                recorder.add(before, analysis._replace(ensemble=then, figures=figures), flag)
            cycle = times.stop
            start = cycle - 1 + self._shift - self._lag
            if start in times:
                ensemble, now = after[times.index(start)], self.records[start]
            else:
                ensemble, now = self._moved(
                    analysis.ensemble, now, self.records[start] if start >= 0 else now
                )
            self.report(cycle)
        return CycleState(ensemble, generator, cycle, now)

    def _screen(self, background: Tensor, number: int) -> Int[Tensor, "batch obs"] | None:
        """Decide once, by the background, which observations of a time the window may use."""
        if not self.screening.is_needed or self.is_empty[number]:
            return None
        return self.screened(self.observed(background, number), number)[1]

    def _window(self, times: range, now: int) -> Window:
        steps = tuple(self.records[number] - now for number in times)
        return Window(
            steps, self._step, lambda ensemble, place: self.observed(ensemble, times[place]), self._push
        )

    def _step(self, ensemble: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member state"]:
        return stepped(self.dynamics, ensemble)

    def _push(self, ensemble: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        shape, dtype = ensemble.shape[:2], self.dynamics.dtype
        states, changes = (part.flatten(0, 1).to(dtype) for part in (ensemble, directions))
        ahead, tangents = self.dynamics.push(states, changes)
        return ahead.double().unflatten(0, shape), tangents.double().unflatten(0, shape)

    def _moved(self, ensemble: Tensor, now: int, then: int) -> tuple[Tensor, int]:
        for _ in range(then - now):
            ensemble = self._step(ensemble)
        return ensemble, then

    def _analysis(
        self, ensemble: Tensor, window: Window, times: range, generator: torch.Generator
    ) -> Analysis:
        if all(self.is_empty[number] for number in times):
            return self.untouched(ensemble)
        return self._smooth(ensemble, window, generator)

    def _share(self, analysis: Analysis, number: int, times: range) -> dict[str, Tensor]:
        """Return the figures of a window; of sums, each time gets the share of its observations."""
        share = self._present[:, number] / self._present[:, list(times)].sum(dim=1)
        return {name: figure * share if name in SUMS else figure for name, figure in analysis.figures.items()}


def forecasting(dynamics: Dynamics, setting: Setting, analyse: object = None) -> Forecast:
    """Return one record step of an ensemble `(batch, member, state)`, with model noise, or as the analysis
    itself carries it on.
    """
    if isinstance(analyse, Propagating):
        return lambda ensemble, generator: analyse.forecast(ensemble, partial(stepped, dynamics))
    factor = None if setting.noise is None else setting.noise.mT
    std = setting.noise_std

    def forecast(ensemble: Tensor, generator: torch.Generator) -> Tensor:
        ahead = stepped(dynamics, ensemble)
        if ensemble.shape[1] == 1:
            return ahead
        if factor is not None:
            shape = (*ensemble.shape[:2], factor.shape[0])
            ahead = ahead + normal(*shape, generator=generator) @ factor
        elif std is not None:
            ahead = ahead + std * normal(*ensemble.shape, generator=generator)
        return ahead

    return forecast


def stepped(
    dynamics: Dynamics, ensemble: Float[Tensor, "batch member state"]
) -> Float[Tensor, "batch member state"]:
    """Return the ensemble one record later, float64, without noise."""
    states = ensemble.flatten(0, 1)
    is_double = dynamics.dtype is torch.float64
    ahead = dynamics.step(states) if is_double else dynamics.step(states.to(dynamics.dtype)).double()
    result: Tensor = ahead.unflatten(0, ensemble.shape[:2])
    return result


def _sees_state(observations: ObservationSet, index: Tensor, dynamics: Dynamics) -> bool:
    """Say whether what is observed is the state itself, entry by entry."""
    if observations.operator is not None or not dynamics.is_physical:
        return False
    cells = dynamics.info.num_cells * dynamics.info.num_channels
    return index.shape[1] == cells and bool((index[0] == torch.arange(cells, device=index.device)).all())


def cells_of(
    dynamics: Dynamics, ensemble: Float[Tensor, "batch member state"]
) -> Float[Tensor, "batch member cell"]:
    """Return the fields of each member, flattened."""
    if dynamics.is_physical:
        return ensemble
    decoded = dynamics.decode(ensemble.flatten(0, 1).to(dynamics.dtype))
    cells: Tensor = decoded.flatten(1).double().unflatten(0, ensemble.shape[:2])
    return cells
