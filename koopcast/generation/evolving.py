"""Trajectories: what to integrate, and the true model that takes its steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import Dynamics, Flow, Problem, Semilinear, Setting, Tendency
from koopcast.grids import FieldsInfo, TimeAxis
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.derivatives import is_differentiated
from koopcast.systems.base import EvolvingSpec

SMALL = 2**15
"""Numbers up to which calls cost more than arithmetic, so that arrays are stepped in place of tensors."""
IMAGINARY = 1e-20j
"""iε of derivatives by complex steps: far below rounding beside any state, far above underflow."""
Arithmetic = Literal["float32", "float64"]


@dataclass(frozen=True)
class Run:
    """What to integrate: counts of records, and steps between them."""

    system: EvolvingSpec
    integrator: IntegratorSpec
    samples: int = 1
    steps: int = 1000
    """Records kept of each sample."""
    dt: float | None = None
    """Integration step; default: the system's own."""
    record_every: int = 1
    burn_in: int = 0
    """Records thrown away before the first that is kept."""
    verify_tol: float = 1e-2
    """Difference that halving the step may make over one Lyapunov time, as a share of the fields' standard
    deviation."""
    tail_tol: float = 1e-6
    """Share of energy that the finest tenth of the modes may hold in a resolved field."""
    defect_tol: float = 1e-3
    """Relative drift that an invariant may have."""
    arithmetic: Arithmetic = "float64"
    """Precision of the steps."""

    @property
    def step(self) -> float:
        """Return the integration step, in time units of the system."""
        return self.system.default_time_step() if self.dt is None else self.dt

    @property
    def precision(self) -> torch.dtype:
        """Return the type of real numbers."""
        return torch.float32 if self.arithmetic == "float32" else torch.float64

    def moment(self, record: int) -> float:
        """Return the time of a record, counted from the initial state."""
        return record * self.record_every * self.step


def describe(run: Run) -> FieldsInfo:
    """Return the contract of the fields that a run makes."""
    interval = float(f"{run.step * run.record_every:.12g}")
    return replace(run.system.describe(), samples=run.samples, time=TimeAxis(run.steps, interval, "1"))


class SystemDynamics(Dynamics):
    """The true model: one step is one record interval.

    Args:
        run: What to integrate.
        device: Where.
        parameters: Options that differ from sample to sample.
        streams: Of each sample, where the random part of the steps is wanted; without, there is none.
    """

    keeps_tensors = False

    def __init__(
        self,
        run: Run,
        device: torch.device | str = "cpu",
        parameters: Mapping[str, Float[Tensor, " batch"]] | None = None,
        streams: Sequence[torch.Generator] = (),
    ) -> None:
        self.info = describe(run)
        self.dtype = run.precision
        self._every = run.record_every
        setting = Setting(torch.device(device), run.precision, parameters or {})
        self.problem: Problem = run.system.problem(setting)
        self._stepper: Callable[[Any], Any] = run.integrator.build(self.problem, run.step)
        self._system = run.system
        self._streams = streams if run.system.is_disturbed() and isinstance(self.problem, Flow) else ()
        self._takes_arrays = isinstance(self.problem, Tendency) and self.problem.takes_arrays

    def step(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Return the state after the integration steps of one record interval."""
        if isinstance(self.problem, Semilinear):
            coefficients = self._stepped(self.problem.to_spectral(self.decode(state)))
            return self.problem.to_physical(coefficients).flatten(1)
        if self._suits_arrays(state):
            # Column-major: what one component does for all members is one loop.
            stepped: np.ndarray = self._stepped(np.asfortranarray(state.numpy()))
            return torch.from_numpy(np.ascontiguousarray(stepped))
        result: Tensor = self._stepped(state)
        return result

    def push(
        self, state: Float[Tensor, "batch state"], direction: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch state"], Float[Tensor, "batch state"]]:
        """Return the state one record later and its derivative in a direction.

        Of arrays it is a step of x + iεd: right-hand sides are analytic, so that with a tiny ε the imaginary
        part is the derivative to rounding, and the real part the state.
        """
        if not (self._suits_arrays(state) and self._suits_arrays(direction)):
            return super().push(state, direction)
        x = np.asfortranarray(state.numpy()) + IMAGINARY * direction.numpy()
        stepped: np.ndarray = self._stepped(np.asfortranarray(x))
        parts = stepped.real, stepped.imag / IMAGINARY.imag
        ahead, tangent = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        return ahead, tangent

    def _suits_arrays(self, state: Float[Tensor, "batch state"]) -> bool:
        is_small = state.is_cpu and state.numel() <= SMALL and state.dtype == torch.float64
        return self._takes_arrays and is_small and not is_differentiated(state)

    def _stepped(self, x: Any) -> Any:
        for _ in range(self._every):
            x = self._stepper(x)
            if self._streams:
                rows = zip(x, self._streams, strict=True)
                x = torch.stack([self._system.disturbed(row, stream) for row, stream in rows])
        return x
