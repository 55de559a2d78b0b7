"""Cycling: forecast to each observation time, analyse, carry on; batched over independent experiments."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from koopcast.assimilation.base import (
    Analysis,
    AnalysisSpec,
    Climatology,
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
from koopcast.assimilation.initial import history_ends, states_at
from koopcast.assimilation.records import Cycles, Recorder, diverged
from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.numerics.arrays import normal
from koopcast.numerics.geometry import domain_of
from koopcast.observations.base import ObservationSet
from koopcast.priors.base import Prior
from koopcast.progress import report
from koopcast.spec import Spec

REPORT_SECONDS = 0.1
"""Least time between two reports of progress."""
CLIMATOLOGY_RECORDS = 2000
"""Records of the training data, at most and spread evenly, that make a climatology."""


class ModelNoise(Spec):
    """Noise added to every member of an ensemble at every record step: what the model knows of its own error.

    A method with a single state gets none, and a smoother none within its windows.
    """

    scale: NonNegativeFloat = 1.0
    """Factor on the one-step error that a fitted model states; 0: none. A true model has no error."""
    std: NonNegativeFloat | None = None
    """Instead of it: independent noise of this standard deviation on each component of the state."""

    @model_validator(mode="after")
    def _is_given_once(self) -> "ModelNoise":
        if self.std is not None and self.scale != type(self).model_fields["scale"].default:
            raise ValueError("give one of scale and std, not both")
        return self


Forecast = Callable[[Tensor, torch.Generator], Tensor]
"""(ensemble "batch member state", generator) -> ensemble one record later."""
SUMS = ("chi_square", "degrees_of_freedom", "log_evidence")
"""Figures of a window that are sums over its observations."""
MEMORY = "memory."
"""Prefix of the names of what a method remembers."""


@dataclass(frozen=True)
class CycleState:
    """All that later cycles depend on: with it a run that was stopped goes on as if it had not been."""

    ensemble: Float[Tensor, "batch member state"]
    """float64, at record `record` of the window, after the analysis if there was one; of a smoother, where
    its next window starts."""
    generator: torch.Generator
    cycle: int = 0
    """Observation times that are done."""
    record: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What the method itself remembers."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, for a restart file."""
        position = torch.tensor([self.cycle, self.record])
        memory = {MEMORY + name: tensor for name, tensor in self.memory.items()}
        whole = {"ensemble": self.ensemble, "generator": self.generator.get_state(), "position": position}
        return whole | memory

    @classmethod
    def restored(cls, tensors: dict[str, Tensor]) -> "CycleState":
        """Return the state that `tensors` described."""
        generator = torch.Generator(device=tensors["ensemble"].device)
        generator.set_state(tensors["generator"].cpu())
        cycle, record = tensors["position"].tolist()
        memory = {
            name.removeprefix(MEMORY): tensor for name, tensor in tensors.items() if name.startswith(MEMORY)
        }
        return cls(tensors["ensemble"], generator, cycle, record, memory)


@dataclass(frozen=True)
class Experiment:
    """A forecast model, a method and what is observed of a truth."""

    dynamics: Dynamics
    method: AnalysisSpec
    observations: ObservationSet
    truth: FieldData
    """Its window has the records that `observations.record` counts; grid and mask are its own."""
    training: FieldData
    """What a method may know of the climatology."""
    noise: ModelNoise = field(default_factory=ModelNoise)
    prior: Prior | None = None
    """What fields look like, where the method uses a learned prior."""
    varied: Mapping[str, Float[Tensor, " batch"]] = field(default_factory=dict)
    """Options of the method that differ from experiment to experiment, see `Setting.varied`."""

    def setting(self, ensemble: Float[Tensor, "batch member state"]) -> Setting:
        """Return what the method knows before the first cycle, of states like those of `ensemble`."""
        dynamics, info, device = self.dynamics, self.truth.info, ensemble.device
        active = self.truth.always_valid().flatten().repeat_interleave(info.num_channels).double().to(device)
        factor, std = self._noise(active if dynamics.is_physical else torch.ones_like(ensemble[0, 0]))
        return Setting(
            domain=domain_of(self.truth) if dynamics.is_physical else None,
            num_channels=info.num_channels,
            active=active if dynamics.is_physical else None,
            climatology=self._climatology(device) if self.method.needs_climatology() else None,
            correction=dynamics.correction(),
            step=lambda states: _stepped(dynamics, states),
            noise=factor,
            noise_std=std,
            prior=self.prior,
            varied=self.varied,
        )

    def _noise(self, active: Float[Tensor, " state"]) -> tuple[Tensor | None, Tensor | None]:
        """Return the factor of the covariance of the model's error over one record, or its deviations."""
        noise, dynamics = self.noise, self.dynamics
        if noise.std is not None:
            return None, noise.std * active if noise.std > 0 else None
        if noise.scale == 0:
            return None, None
        factor = dynamics.noise_factor()
        if factor is not None:
            return noise.scale * factor.double(), None
        std = dynamics.noise_std()
        return None, None if std is None else noise.scale * std.double()

    def _climatology(self, device: torch.device) -> Climatology:
        ends = history_ends(self.training, self.dynamics.history)
        count = min(len(ends), CLIMATOLOGY_RECORDS)
        chosen = torch.linspace(0, len(ends) - 1, count).round().long().tolist()
        states = states_at(self.dynamics, self.training, [ends[i] for i in chosen], device)
        return Climatology(states, self.dynamics.decode(states.to(self.dynamics.dtype)).flatten(1).double())


def run(experiment: Experiment, state: CycleState, *, keep: str = "members") -> Iterator[Cycles]:
    """Cycle from `state` to the last observation time, yielding records of some cycles at a time.

    `keep` is `members`, or `mean` for records of the ensemble mean alone. Each block holds the state after
    it, whose generator moves on with the next block: save it before that.

    Raises:
        Diverged: A member is not finite; the message names cycle and experiment.
    """
    setting = experiment.setting(state.ensemble)
    chain = _Smoothing if isinstance(experiment.method, SmootherSpec) else _Filtering
    cycling: _Filtering | _Smoothing = chain(experiment, setting, state.memory)
    recorder = Recorder(experiment.dynamics, experiment.truth, experiment.observations, state.ensemble, keep)
    total = experiment.observations.num_times
    method = experiment.method
    keeps_tensors = experiment.dynamics.keeps_tensors or method.needs_derivatives()
    is_plain = not (keeps_tensors or isinstance(method, SmootherSpec))
    while state.cycle < total:
        mode = torch.inference_mode() if is_plain else torch.no_grad()
        with mode, np.errstate(over="ignore", invalid="ignore"):
            state = cycling.advance(state, recorder)
        # Outside of inference mode: tensors like any others.
        memory = {name: tensor.clone() for name, tensor in cycling.memory.items()}
        state = replace(state, ensemble=state.ensemble.clone(), memory=memory)
        yield recorder.flush(state)
    report("cycle", total, total)


class _Cycling:
    """What filters and smoothers share: the observations, the record of progress, a memory."""

    def __init__(self, experiment: Experiment, memory: dict[str, Tensor]) -> None:
        self.observations, self.dynamics = experiment.observations, experiment.dynamics
        self.records, self.total = self.observations.record.tolist(), self.observations.num_times
        self.is_empty = self.observations.is_empty.tolist()
        whole = standardised(self.observations.value.double(), self.observations.variance.double())
        self._values, self._scales = (part.unbind(1) for part in whole)
        self._fixed = self.observations.index[:, 0] if self.observations.is_fixed else None
        self._sees_all = self._fixed is not None and _sees_state(
            self.observations, self._fixed, self.dynamics
        )
        self._sees_entries = self.observations.operator is None and self.dynamics.is_physical
        self._reported = 0.0
        self._memory = memory
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
        return Observed(self._values[cycle], self._scales[cycle], predicted, index, see)

    def _seen(self, cycle: int, ensemble: Float[Tensor, "batch member state"]) -> Tensor:
        if self._sees_all:
            return ensemble
        return self.observations.seen(cells_of(self.dynamics, ensemble), cycle)

    def untouched(self, ensemble: Float[Tensor, "batch member state"]) -> Analysis:
        """Return the background as the analysis of times without observations."""
        weights = self._method.log_weight(ensemble).exp() if isinstance(self._method, Weighing) else None
        return Analysis(ensemble, weights=weights, background_weights=weights)

    def report(self, done: int) -> None:
        """Report progress once in a while."""
        if time.perf_counter() - self._reported > REPORT_SECONDS:
            self._reported = time.perf_counter()
            report("cycle", done, self.total)


class _Filtering(_Cycling):
    """Forecast to an observation time, analyse there, carry on."""

    def __init__(self, experiment: Experiment, setting: Setting, memory: dict[str, Tensor]) -> None:
        super().__init__(experiment, memory)
        assert isinstance(experiment.method, FilterSpec)
        self._analyse = experiment.method.build(setting)
        self.remember(self._analyse)
        self._forecast = _forecast(self.dynamics, setting, self._analyse)

    def advance(self, state: CycleState, recorder: "Taker") -> CycleState:
        """Cycle until the recorder is full or observations end; return the state after it."""
        generator, ensemble, now = state.generator, state.ensemble, state.record
        for cycle in range(state.cycle, self.total):
            for _ in range(self.records[cycle] - now):
                ensemble = self._forecast(ensemble, generator)
            now = self.records[cycle]
            try:
                analysis = self._analysis(ensemble, cycle, generator)
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
                raise diverged(ensemble, cycle, self.total) from error
            recorder.add(ensemble, analysis)
            ensemble = analysis.ensemble if analysis.carried is None else analysis.carried
            self.report(cycle + 1)
            if recorder.is_full:
                break
        return CycleState(ensemble, generator, cycle + 1, now)

    def _analysis(self, ensemble: Tensor, cycle: int, generator: torch.Generator) -> Analysis:
        if self.is_empty[cycle]:
            return self.untouched(ensemble)
        return self._analyse(ensemble, self.observed(ensemble, cycle), generator)


class _Smoothing(_Cycling):
    """Analyse the start of a window by the observations in it, forecast through it, move the window on."""

    def __init__(self, experiment: Experiment, setting: Setting, memory: dict[str, Tensor]) -> None:
        super().__init__(experiment, memory)
        assert isinstance(experiment.method, SmootherSpec)
        self._lag, self._shift = experiment.method.lag, experiment.method.shift
        self._smooth = experiment.method.build(setting)
        self.remember(self._smooth)
        self._present = (~torch.isnan(self.observations.value)).sum(dim=2).double()

    def advance(self, state: CycleState, recorder: "Taker") -> CycleState:
        """Move windows on until the recorder is full or observations end; return the state after it."""
        generator, ensemble, now, cycle = state.generator, state.ensemble, state.record, state.cycle
        while cycle < self.total and not recorder.is_full:
            times = range(cycle, min(cycle + self._shift, self.total))
            window = self._window(times, now)
            background = list(window.trajectory(ensemble))
            try:
                analysis = self._analysis(ensemble, window, times, generator)
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
                raise diverged(background[-1], times[-1], self.total) from error
            path = analysis.path
            after = list(window.trajectory(analysis.ensemble) if path is None else path)
            for time_of, before, then in zip(times, background, after, strict=True):
                figures = self._share(analysis, time_of, times)
                recorder.add(before, analysis._replace(ensemble=then, figures=figures))
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

    def _window(self, times: range, now: int) -> Window:
        steps = tuple(self.records[number] - now for number in times)
        return Window(
            steps, self._step, lambda ensemble, place: self.observed(ensemble, times[place]), self._push
        )

    def _step(self, ensemble: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member state"]:
        return _stepped(self.dynamics, ensemble)

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


def _forecast(dynamics: Dynamics, setting: Setting, analyse: object) -> Forecast:
    """Return one record step of an ensemble `(batch, member, state)`, with model noise."""
    if isinstance(analyse, Propagating):
        return lambda ensemble, generator: analyse.forecast(ensemble, partial(_stepped, dynamics))
    factor = None if setting.noise is None else setting.noise.mT
    std = setting.noise_std

    def forecast(ensemble: Tensor, generator: torch.Generator) -> Tensor:
        stepped = _stepped(dynamics, ensemble)
        if ensemble.shape[1] == 1:
            return stepped
        if factor is not None:
            shape = (*ensemble.shape[:2], factor.shape[0])
            stepped = stepped + normal(*shape, generator=generator) @ factor
        elif std is not None:
            stepped = stepped + std * normal(*ensemble.shape, generator=generator)
        return stepped

    return forecast


def _stepped(dynamics: Dynamics, ensemble: Tensor) -> Tensor:
    states = ensemble.flatten(0, 1)
    is_double = dynamics.dtype is torch.float64
    stepped = dynamics.step(states) if is_double else dynamics.step(states.to(dynamics.dtype)).double()
    result: Tensor = stepped.unflatten(0, ensemble.shape[:2])
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


@runtime_checkable
class Taker(Protocol):
    """What takes in the cycles of a run, one after another."""

    @property
    def is_full(self) -> bool:
        """Whether the run should pause."""

    def add(self, background: Float[Tensor, "batch member state"], analysis: Analysis) -> None:
        """Take in one observation time."""


def through(experiment: Experiment, state: CycleState, taker: Taker) -> CycleState:
    """Cycle through the observation times of an experiment that has no truth; return the state at the end.

    Raises:
        Diverged: The analysis cannot be computed; the message names the cycle.
    """
    setting = experiment.setting(state.ensemble)
    chain = _Smoothing if isinstance(experiment.method, SmootherSpec) else _Filtering
    cycling: _Filtering | _Smoothing = chain(experiment, setting, state.memory)
    with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
        after = cycling.advance(state, taker)
    memory = {name: tensor.clone() for name, tensor in cycling.memory.items()}
    return replace(after, ensemble=after.ensemble.clone(), memory=memory)


def forecaster(experiment: Experiment, ensemble: Float[Tensor, "batch member state"]) -> Forecast:
    """Return one record step of an ensemble with the noise of the experiment's model."""
    return _forecast(experiment.dynamics, experiment.setting(ensemble), None)
