"""Cycling: forecast to each observation time, analyse, carry on; batched over independent experiments."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from koopcast.assimilation.base import Analysis, AnalysisSpec, Climatology, Observed, Setting, standardised
from koopcast.assimilation.initial import history_ends, states_at
from koopcast.assimilation.records import Cycles, Recorder, diverged
from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.numerics.arrays import normal
from koopcast.numerics.geometry import domain_of
from koopcast.observations.base import ObservationSet
from koopcast.progress import report
from koopcast.spec import Spec

REPORT_SECONDS = 0.1
"""Least time between two reports of progress."""
CLIMATOLOGY_RECORDS = 2000
"""Records of the training data, at most and spread evenly, that make a climatology."""


class ModelNoise(Spec):
    """Noise added to every member at every record step: what the model knows of its own error."""

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
Analyses = Callable[[Tensor, int, torch.Generator], Analysis]
"""(background, number of the observation time, generator) -> analysis."""


@dataclass(frozen=True)
class CycleState:
    """All that later cycles depend on: with it a run that was stopped goes on as if it had not been."""

    ensemble: Float[Tensor, "batch member state"]
    """float64, at record `record` of the window, after the analysis if there was one."""
    generator: torch.Generator
    cycle: int = 0
    """Observation times that are done."""
    record: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, for a restart file."""
        position = torch.tensor([self.cycle, self.record])
        return {"ensemble": self.ensemble, "generator": self.generator.get_state(), "position": position}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor]) -> "CycleState":
        """Return the state that `tensors` described."""
        generator = torch.Generator(device=tensors["ensemble"].device)
        generator.set_state(tensors["generator"].cpu())
        cycle, record = tensors["position"].tolist()
        return cls(tensors["ensemble"], generator, cycle, record)


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

    def setting(self, device: torch.device) -> Setting:
        """Return what the method knows before the first cycle."""
        dynamics, info = self.dynamics, self.truth.info
        active = self.truth.always_valid().flatten().repeat_interleave(info.num_channels).double().to(device)
        return Setting(
            domain=domain_of(self.truth) if dynamics.is_physical else None,
            num_channels=info.num_channels,
            active=active if dynamics.is_physical else None,
            climatology=self._climatology(device) if self.method.needs_climatology() else None,
            correction=dynamics.correction(),
        )

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
    device = state.ensemble.device
    setting = experiment.setting(device)
    forecast = _forecast(experiment.dynamics, experiment.noise, setting.active)
    analyse = _analyse(experiment, setting)
    recorder = Recorder(experiment.dynamics, experiment.truth, experiment.observations, state.ensemble, keep)
    total = experiment.observations.num_times
    while state.cycle < total:
        mode = torch.no_grad() if experiment.dynamics.keeps_tensors else torch.inference_mode()
        with mode, np.errstate(over="ignore", invalid="ignore"):
            state = _cycles(state, experiment.observations, forecast, analyse, recorder)
        # Outside of inference mode: a tensor like any other.
        state = replace(state, ensemble=state.ensemble.clone())
        yield recorder.flush(state)
    report("cycle", total, total)


def _cycles(
    state: CycleState, observations: ObservationSet, forecast: Forecast, analyse: Analyses, recorder: Recorder
) -> CycleState:
    """Cycle until the recorder is full or observations end; return the state after it."""
    generator, ensemble, now, reported = state.generator, state.ensemble, state.record, 0.0
    records, total = observations.record.tolist(), observations.num_times
    for cycle in range(state.cycle, total):
        for _ in range(records[cycle] - now):
            ensemble = forecast(ensemble, generator)
        now = records[cycle]
        try:
            analysis = analyse(ensemble, cycle, generator)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise diverged(ensemble, cycle, total) from error
        recorder.add(ensemble, analysis)
        ensemble = analysis.ensemble
        if time.perf_counter() - reported > REPORT_SECONDS:
            reported = time.perf_counter()
            report("cycle", cycle + 1, total)
        if recorder.is_full:
            break
    return CycleState(ensemble, generator, cycle + 1, now)


def _forecast(dynamics: Dynamics, noise: ModelNoise, active: Tensor | None) -> Forecast:
    """Return one record step of an ensemble `(batch, member, state)`, with model noise."""
    F = dynamics.noise_factor() if noise.std is None and noise.scale > 0 else None
    factor = None if F is None else noise.scale * F.double().mT
    std, dtype = noise.std or 0.0, dynamics.dtype

    def forecast(ensemble: Tensor, generator: torch.Generator) -> Tensor:
        states = ensemble.flatten(0, 1)
        if dtype is torch.float64:
            stepped = dynamics.step(states).view(ensemble.shape)
        else:
            stepped = dynamics.step(states.to(dtype)).double().view(ensemble.shape)
        if factor is not None:
            shape = (*ensemble.shape[:2], factor.shape[0])
            draws = normal(*shape, generator=generator)
            stepped = stepped + draws @ factor
        elif std > 0:
            draws = normal(*ensemble.shape, generator=generator)
            stepped = stepped + std * (draws if active is None else draws * active)
        return stepped

    return forecast


def _analyse(experiment: Experiment, setting: Setting) -> Analyses:
    """Return the analysis at an observation time, given its number."""
    observations, dynamics = experiment.observations, experiment.dynamics
    method = experiment.method.build(setting)
    whole = standardised(observations.value.double(), observations.variance.double())
    values, scales = (part.unbind(1) for part in whole)
    is_empty = observations.is_empty.tolist()
    fixed = observations.index[:, 0] if observations.is_fixed else None
    sees_all = fixed is not None and dynamics.is_physical and _is_everything(fixed, dynamics)

    def analyse(ensemble: Tensor, cycle: int, generator: torch.Generator) -> Analysis:
        if is_empty[cycle]:
            return Analysis(ensemble)
        index = observations.index[:, cycle] if fixed is None else fixed
        predicted = ensemble if sees_all else observed_cells(dynamics, ensemble, index)
        observed = Observed(values[cycle], scales[cycle], predicted, index)
        return method(ensemble, observed, generator)

    return analyse


def _is_everything(index: Tensor, dynamics: Dynamics) -> bool:
    cells = dynamics.info.num_cells * dynamics.info.num_channels
    return index.shape[1] == cells and bool((index[0] == torch.arange(cells, device=index.device)).all())


def observed_cells(
    dynamics: Dynamics, ensemble: Float[Tensor, "batch member state"], index: Tensor
) -> Float[Tensor, "batch member obs"]:
    """Return what each member has at the observed cells."""
    cells = ensemble
    if not dynamics.is_physical:
        decoded = dynamics.decode(ensemble.flatten(0, 1).to(dynamics.dtype))
        cells = decoded.flatten(1).double().unflatten(0, ensemble.shape[:2])
    return cells.gather(2, index[:, None].expand(-1, ensemble.shape[1], -1))
