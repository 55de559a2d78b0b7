"""Assimilation: one analysis of an ensemble, batched over independent experiments.

Words of the family: *member* one state of the ensemble, *state* its components, *cell* one of them that is
a value of a field at a place, *obs* one observation, *background* the ensemble before the analysis,
*anomaly* a member less the mean, *innovation* observation less background mean. *Whitened* means divided
by the observation error.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import Correction
from koopcast.grids import FieldsInfo
from koopcast.numerics.derivatives import pushed
from koopcast.numerics.ensembles import split
from koopcast.numerics.geometry import Domain
from koopcast.priors.base import Prior
from koopcast.spec import MethodSpec, Problem

VARIABLE = ("inflation.factor", "localization.radius")
"""Paths of the options of a method that a setting may vary from experiment to experiment."""


class Observed(NamedTuple):
    """What an analysis sees of one time. A missing observation has the scale 0 and so carries no weight."""

    value: Float[Tensor, "batch obs"]
    """Finite; anything where missing."""
    scale: Float[Tensor, "batch obs"]
    """One over the standard deviation of the error."""
    predicted: Float[Tensor, "batch member obs"]
    """The observation operator applied to each member of the background."""
    cell: Int[Tensor, "batch obs"] | None = None
    """Cell at which each observation stands: for localisation. The same tensor again means the same sites."""
    see: Callable[[Tensor], Tensor] | None = None
    """The observation operator, (ensemble "batch member state") -> predicted, differentiable; None: what is
    observed are entries `cell` of the state."""

    def seen(self, ensemble: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member obs"]:
        """Return what is observed of each member: differentiable where the model is."""
        if self.see is not None:
            return self.see(ensemble)
        assert self.cell is not None, "the observed cells are given"
        return ensemble.gather(2, self.cell[:, None].expand(-1, ensemble.shape[1], -1))

    is_of_cells: bool = True
    """Whether each observation is the value of that cell itself."""

    @classmethod
    def of(
        cls,
        value: Float[Tensor, "batch obs"],
        variance: Float[Tensor, "batch obs"],
        predicted: Float[Tensor, "batch member obs"],
        cell: Int[Tensor, "batch obs"] | None = None,
        see: Callable[[Tensor], Tensor] | None = None,
    ) -> "Observed":
        """Return observations with NaN for missing ones in the form that an analysis takes."""
        value, scale = standardised(value, variance)
        return cls(value, scale, predicted, cell, see)


def standardised(value: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return finite values and scales: 1/σ, and 0 where the value is NaN."""
    missing = torch.isnan(value)
    return value.masked_fill(missing, 0.0), variance.rsqrt().masked_fill(missing, 0.0)


def whitened(observed: Observed) -> tuple[Float[Tensor, "batch member obs"], Float[Tensor, "batch obs"]]:
    """Return the anomalies of the predicted observations and the innovation, over the observation error."""
    mean, anomalies = split(observed.predicted)
    return anomalies * observed.scale[:, None], (observed.value - mean[:, 0]) * observed.scale


class Analysis(NamedTuple):
    """The ensemble after the observations."""

    ensemble: Float[Tensor, "batch member state"]
    figures: Mapping[str, Float[Tensor, " batch"]] = MappingProxyType({})
    """`degrees_of_freedom`, the trace of HK; `chi_square`, dᵀ(HPHᵀ + R)⁻¹d of the innovation d; others are
    kept as they are."""
    std: Float[Tensor, "batch cell"] | None = None
    """Standard deviation of each cell that a method without an ensemble states for its analysis."""
    path: tuple[Float[Tensor, "batch member state"], ...] | None = None
    """Of a smoother that corrects the model within a window: the analysis at its observation times. None:
    where the model takes the ensemble."""
    weights: Float[Tensor, "batch member"] | None = None
    """Of the members, with the sum 1; None: equal."""
    background_weights: Float[Tensor, "batch member"] | None = None
    """The same of the members before the analysis."""
    carried: Float[Tensor, "batch member state"] | None = None
    """What the next forecast starts from, where it is not `ensemble`: particles that were drawn again."""


@dataclass(frozen=True)
class Climatology:
    """Records of the training data, spread evenly over it, for methods that know no other background."""

    states: Float[Tensor, "record state"]
    cells: Float[Tensor, "record cell"]
    """The same records as fields."""


@dataclass(frozen=True)
class Setting:
    """What is known before the first cycle."""

    domain: Domain | None = None
    """Where the cells lie; None for a state without positions."""
    num_channels: int = 1
    active: Float[Tensor, " state"] | None = None
    """1 where a cell of the state holds data, 0 where it is masked; None where every component counts."""
    climatology: Climatology | None = None
    correction: Correction | None = None
    """How the forecast model itself draws a state to measurements, where it learned to."""
    step: Callable[[Tensor], Tensor] | None = None
    """The forecast model: (ensemble "batch member state") -> ensemble one record later, without noise."""
    noise: Float[Tensor, "state rank"] | None = None
    """F with F Fᵀ the covariance of the model's error over one record; None where it has none, or where it
    is independent from entry to entry (`noise_std`)."""
    noise_std: Float[Tensor, " state"] | None = None
    """Standard deviation of that error, entry by entry."""
    prior: Prior | None = None
    """What fields look like, where it was learned."""
    varied: Mapping[str, Float[Tensor, " batch"]] = field(default_factory=dict)
    """Options that differ from experiment to experiment, by their path in the method: `inflation.factor`."""
    reach: Float[Tensor, " obs"] | None = None
    """Factor on the radius of localisation, observation by observation; None where all are 1."""


@dataclass(frozen=True)
class Window:
    """Observation times that are analysed together, seen from an earlier state."""

    steps: tuple[int, ...]
    """Records from the state to each observation time, increasing."""
    step: Callable[[Tensor], Tensor]
    """(ensemble "batch member state") -> ensemble one record later: float64, without noise; differentiable
    where the model is."""
    observe: Callable[[Tensor, int], Observed]
    """(ensemble at an observation time, number of that time in the window) -> what is observed there."""
    push: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    """(ensemble, directions of its shape) -> both one record later, where the model has a way of its own."""

    def trajectory(self, ensemble: Float[Tensor, "batch member state"]) -> Iterator[Tensor]:
        """Yield the ensemble at each observation time."""
        now = 0
        for steps in self.steps:
            for _ in range(steps - now):
                ensemble = self.step(ensemble)
            now = steps
            yield ensemble

    def tangents(
        self, ensemble: Float[Tensor, "batch member state"], directions: Float[Tensor, "batch member state"]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the ensemble, and what becomes of a direction of each member, at each observation time."""
        push = self.push or partial(pushed, self.step)
        now = 0
        for steps in self.steps:
            for _ in range(steps - now):
                ensemble, directions = push(ensemble, directions)
            now = steps
            yield ensemble, directions


class Remembering(ABC):
    """An analysis that keeps something from one call to the next: adapted parameters, a covariance.

    The cycle saves `memory` with its state, and sets it when it goes on from a saved state.
    """

    memory: dict[str, Tensor]
    """All that later calls depend on."""


class Propagating(Remembering):
    """An analysis that remembers what the model carries on beside the ensemble: a covariance."""

    @abstractmethod
    def forecast(
        self, ensemble: Float[Tensor, "batch member state"], step: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "batch member state"]:
        """Return the ensemble one record later, and carry on what is remembered.

        `step` takes an ensemble one record on: float64, without noise, differentiable where the model is.
        """


class Weighing(Remembering):
    """An analysis whose members carry weights from one call to the next."""

    def log_weight(self, ensemble: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member"]:
        """Return the logarithms of the weights, of sum 1; equal ones at first."""
        if "log_weight" in self.memory:
            return self.memory["log_weight"]
        return ensemble.new_full(ensemble.shape[:2], -math.log(ensemble.shape[1]))

    def keep(self, log_weight: Float[Tensor, "batch member"]) -> None:
        """Remember the logarithms of the weights of what is carried on."""
        self.memory = {**self.memory, "log_weight": log_weight}


Analyse = Callable[[Tensor, Observed, torch.Generator], Analysis]
"""(background ensemble "batch member state", observations, generator) -> analysis; float64."""


Smooth = Callable[[Tensor, Window, torch.Generator], Analysis]
"""(ensemble "batch member state" at the start of a window, window, generator) -> analysis at that start."""


class AnalysisSpec(MethodSpec):
    """Options of a method that draws an ensemble to observations."""

    runs_side_by_side: ClassVar[bool] = False
    """Whether experiments with random streams and `VARIABLE` options of their own can run as one batch:
    all that is random comes from `koopcast.numerics.arrays.normal`, the batch first."""

    @abstractmethod
    def num_members(self) -> int:
        """Return the size of the ensemble (1 for a method without one)."""

    def needs_physical_state(self) -> bool:
        """Return whether cells of the state must have a position (localisation)."""
        return False

    def needs_cells(self) -> bool:
        """Return whether each observation must be the value of a cell itself."""
        return False

    def needs_climatology(self) -> bool:
        """Return whether the method reads the training data."""
        return False

    def needs_correction(self) -> bool:
        """Return whether the forecast model must have learned a gain."""
        return False

    def needs_derivatives(self) -> bool:
        """Return whether the method differentiates: it is then never run in inference mode."""
        return False

    def needs_prior(self) -> bool:
        """Return whether the method uses a learned prior."""
        return False

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield nothing: a method without options that need a grid."""
        yield from ()


class FilterSpec(AnalysisSpec):
    """Options of a method that analyses the state at an observation time."""

    @abstractmethod
    def build(self, setting: Setting) -> Analyse:
        """Return the analysis: float64, and every batch element is an experiment of its own.

        Raises:
            EmptySelection: The method needs a climatology or positions that the setting does not hold.
        """


class SmootherSpec(AnalysisSpec):
    """Options of a method that analyses an earlier state, through the model, by what is observed after it.

    Each observation is used once: those of the last `shift` times of a window of `lag`. The model runs
    without noise within the window.
    """

    lag: PositiveInt = 1
    """Observation times from the state that is analysed to the last observation."""
    shift: PositiveInt = Field(1, validate_default=True)
    """Observation times from one window to the next."""

    def needs_derivatives(self) -> bool:
        """Return True: a window runs the model."""
        return True

    @model_validator(mode="after")
    def _windows_leave_nothing_out(self) -> "SmootherSpec":
        if self.shift > self.lag:
            raise ValueError(
                f"shift: {self.shift} is above lag {self.lag}, so that states between windows would never be "
                "analysed; lower shift or raise lag"
            )
        return self

    @abstractmethod
    def build(self, setting: Setting) -> Smooth:
        """Return the analysis of a window: float64, and every batch element is an experiment of its own.

        Raises:
            EmptySelection: The method needs a climatology or positions that the setting does not hold.
        """
