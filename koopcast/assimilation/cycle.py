"""Cycling: forecast to each observation time, analyse, carry on; batched over independent experiments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from koopcast.assimilation.base import AnalysisSpec, Climatology, Setting, SmootherSpec
from koopcast.assimilation.chains import Filtering, Forecast, Smoothing, Taker, forecasting, stepped
from koopcast.assimilation.guards import Guard, Limits
from koopcast.assimilation.initial import history_ends, states_at
from koopcast.assimilation.records import Cycles, Recorder
from koopcast.assimilation.state import CycleState as CycleState
from koopcast.assimilation.state import guarded, saved
from koopcast.dynamics import Dynamics
from koopcast.errors import Diverged
from koopcast.fields import FieldData
from koopcast.numerics.geometry import domain_of
from koopcast.observations.base import ObservationSet
from koopcast.priors.base import Prior
from koopcast.progress import report
from koopcast.spec import Spec

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
    limits: Limits = field(default_factory=Limits)
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
            step=lambda states: stepped(dynamics, states),
            noise=factor,
            noise_std=std,
            prior=self.prior,
            varied=self.varied,
            reach=self.observations.reach(),
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
        Diverged: A member is not finite, or a limit is broken; the message names cycle and experiment. The
            cycles before have been yielded (the state of the last of them cannot be gone on from).
    """
    setting = experiment.setting(state.ensemble)
    chain = Smoothing if isinstance(experiment.method, SmootherSpec) else Filtering
    cycling: Filtering | Smoothing = chain(experiment, setting, state.memory)
    total = experiment.observations.num_times
    guard = Guard(experiment.limits, state.ensemble.shape[1], total, guarded(state.memory))
    recorder = Recorder(
        experiment.dynamics,
        experiment.truth,
        experiment.observations,
        state.ensemble,
        keep=keep,
        guard=guard,
    )
    method = experiment.method
    keeps_tensors = experiment.dynamics.keeps_tensors or method.needs_derivatives()
    is_plain = not (keeps_tensors or isinstance(method, SmootherSpec))
    while state.cycle < total:
        first, failure = state.cycle, None
        mode = torch.inference_mode() if is_plain else torch.no_grad()
        with mode, np.errstate(over="ignore", invalid="ignore"):
            try:
                state = cycling.advance(state, recorder)
            except Diverged as error:
                failure = error
        # Outside of inference mode: tensors like any others.
        state = replace(state, ensemble=state.ensemble.clone())
        block, fault = recorder.flush(state, first)
        memory = {name: tensor.clone() for name, tensor in cycling.memory.items()} | saved(guard.memory)
        state = replace(state, memory=memory)
        if block is not None:
            yield replace(block, state=replace(block.state, memory=memory))
        if (reason := fault or failure) is not None:
            raise reason
    report("cycle", total, total)


def through(experiment: Experiment, state: CycleState, taker: Taker) -> CycleState:
    """Cycle through the observation times of an experiment that has no truth; return the state at the end.

    Raises:
        Diverged: The analysis cannot be computed; the message names the cycle.
    """
    setting = experiment.setting(state.ensemble)
    chain = Smoothing if isinstance(experiment.method, SmootherSpec) else Filtering
    cycling: Filtering | Smoothing = chain(experiment, setting, state.memory)
    with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
        after = cycling.advance(state, taker)
    memory = {name: tensor.clone() for name, tensor in cycling.memory.items()}
    return replace(after, ensemble=after.ensemble.clone(), memory=memory)


def forecaster(experiment: Experiment, ensemble: Float[Tensor, "batch member state"]) -> Forecast:
    """Return one record step of an ensemble with the noise of the experiment's model."""
    return forecasting(experiment.dynamics, experiment.setting(ensemble))
