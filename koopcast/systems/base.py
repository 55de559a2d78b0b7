"""Systems: what evolves, or is solved for. A system states its equation; it integrates and solves nothing."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from koopcast.dynamics import ON_CPU, Problem, Setting
from koopcast.grids import FieldsInfo
from koopcast.linear import LinearProblem, Profile
from koopcast.numerics.geometry import implied_coordinates
from koopcast.spec import MethodSpec


class SystemSpec(MethodSpec):
    """Options of a system. It is evolving, stationary or drawn."""

    varied: ClassVar[tuple[str, ...]] = ()
    """Options, numbers all, that may differ from sample to sample."""

    @abstractmethod
    def describe(self) -> FieldsInfo:
        """Return axes, variables and units; one sample, one time (generation fills in the counts)."""

    def coordinates(self) -> dict[str, Float[Tensor, "_"]]:
        """Return where the values of a field lie on each axis: its nodes, unless a system says otherwise."""
        return {axis.name: implied_coordinates(axis) for axis in self.describe().axes}


class EvolvingSpec(SystemSpec):
    """Options of a system that moves in time. Fields are float64, `(batch, *space, channel)`."""

    @abstractmethod
    def problem(self, setting: Setting = ON_CPU) -> Problem:
        """Return the equation in the form that integrators take."""

    @abstractmethod
    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count *space channel"]:
        """Draw `count` initial fields."""

    @abstractmethod
    def default_time_step(self) -> float:
        """Return an integration step that is accurate at the default parameters, in time units."""

    def spin_up_time(self) -> float:
        """Return the time after which drawn states have reached the attractor; 0 where there is none."""
        return 0.0

    @abstractmethod
    def lyapunov_time(self) -> float:
        """Return the time in which a small error grows by e, or another after which the step is judged."""

    def default_integrator(self) -> str:
        """Return the `kind` of the integrator that suits the problem."""
        return "rk4"

    def faulty_step(self, dt: float) -> str | None:
        """Return why the system takes no integration step `dt`, and what to give; None where it does."""
        return None

    def disturbed(
        self, state: Float[Tensor, "*batch state"], generator: torch.Generator
    ) -> Float[Tensor, "*batch state"]:
        """Return the state after the random part of one step, where `is_disturbed`."""
        return state

    def is_disturbed(self) -> bool:
        """Return whether a step of a flow has a random part; as a forecast model the system is without it."""
        return False

    def invariants(
        self, fields: Float[Tensor, "batch *space channel"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the quantities that the exact flow of every sample keeps, by name.

        Args:
            fields: One of each sample.
            setting: The options that differ from sample to sample.
        """
        return {}

    def exact(
        self, initial: Float[Tensor, "batch *space channel"], time: float
    ) -> Float[Tensor, "batch *space channel"] | None:
        """Return the exact fields `time` after `initial` (drawn by this spec); None where not known."""
        return None

    def tail_energy(self, fields: Float[Tensor, "batch *space channel"]) -> Float[Tensor, " batch"]:
        """Return the share of energy in the finest tenth of the modes; 0 without a grid to refine."""
        return fields.new_zeros(fields.shape[0])


class StationarySpec(SystemSpec):
    """Options of an equation A x = b, one for each sample. Fields are float64, `(*space)` per variable.

    `describe` lists what is given first (coefficients, sources), then the solution.
    """

    @abstractmethod
    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "*space"]]:
        """Draw the given fields of one sample, by variable.

        Args:
            generator: The sample's own stream.
            parameters: Values of the varied options in this sample.
        """

    @abstractmethod
    def problem(
        self, given: Mapping[str, Float[np.ndarray, "*space"]], parameters: Mapping[str, float]
    ) -> LinearProblem:
        """Return the linear system of one sample."""

    @abstractmethod
    def solution(
        self, given: Mapping[str, Float[np.ndarray, "*space"]], x: Float[np.ndarray, " unknown"]
    ) -> dict[str, Float[np.ndarray, "*space"]]:
        """Return the fields that unknowns stand for, boundary values included, by variable."""

    @abstractmethod
    def profile(self, varied: Collection[str] = ()) -> Profile:
        """Return what all matrices of a sequence have in common.

        Args:
            varied: Names of the options that differ from sample to sample.
        """

    def mask(self) -> Bool[np.ndarray, "*space"] | None:
        """Return where the domain has points, where it is no box: `describe` then says `is_masked`."""
        return None


class DrawnSpec(SystemSpec):
    """Options of data that are drawn whole: nothing of them is left to an integrator or a linear solver."""

    @abstractmethod
    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, "*space"]]:
        """Draw the fields of one sample, by variable."""
