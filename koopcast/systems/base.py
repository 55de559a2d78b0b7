"""Systems: what evolves. A system hands its equation to an integrator; it steps nothing itself."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import Problem
from koopcast.grids import FieldsInfo
from koopcast.spec import MethodSpec


class SystemSpec(MethodSpec):
    """Options of a system. Fields are float64, `(batch, *space, channel)`."""

    @abstractmethod
    def describe(self) -> FieldsInfo:
        """Return axes, variables and units; one sample, one time (generation fills in the counts)."""

    @abstractmethod
    def problem(self, device: torch.device) -> Problem:
        """Return the equation in the form that integrators take."""

    @abstractmethod
    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count *space channel"]:
        """Draw `count` initial fields."""

    @abstractmethod
    def default_time_step(self) -> float:
        """Return an integration step that is accurate at the default parameters, in time units."""

    @abstractmethod
    def spin_up_time(self) -> float:
        """Return the time after which drawn states have reached the attractor: guidance for `burn_in`."""

    @abstractmethod
    def lyapunov_time(self) -> float:
        """Return the time in which a small error grows by e: the horizon of step checks."""

    def default_integrator(self) -> str:
        """Return the `kind` of the integrator that suits the problem."""
        return "rk4"

    def invariants(
        self, fields: Float[Tensor, "batch *space channel"]
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the quantities that the exact flow keeps, by name."""
        return {}

    def tail_energy(self, fields: Float[Tensor, "batch *space channel"]) -> Float[Tensor, " batch"]:
        """Return the share of energy in the finest tenth of the modes; 0 without a grid to refine."""
        return fields.new_zeros(fields.shape[0])
