"""The step that makes data from a known system."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter

from koopcast.dynamics import form_of
from koopcast.grids import FieldsInfo
from koopcast.integrators import AnyIntegrator, IntegratorSpec
from koopcast.spec import Problem
from koopcast.split import Split, apply_split
from koopcast.systems import AnySystem
from schemas.references import Dataset, Kind, Model
from schemas.stages.base import Contract, Inputs, Step, split_parts

SYSTEM = "system"
"""The part of a `generate` step that is its true model."""


class GenerateStep(Step):
    """Integrate a system from drawn initial states.

    Parts: those of the split, and `system` (the true model).
    """

    yields: ClassVar[type[Kind]] = Dataset
    task: Literal["generate"] = "generate"
    system: AnySystem
    """What evolves."""
    integrator: AnyIntegrator | None = None
    """Default: what suits the system."""
    samples: PositiveInt = Field(1, le=10**7)
    """Trajectories, each from an initial state of its own."""
    steps: PositiveInt = Field(1000, le=10**7)
    """Records kept of each sample."""
    dt: Annotated[float, Field(gt=0)] | None = None
    """Integration step in the system's time unit; default: accurate for the system's own parameters."""
    record_every: PositiveInt = Field(1, le=10**6)
    """Integration steps between two records."""
    burn_in: NonNegativeInt = Field(0, le=10**9)
    """Records thrown away before the first that is kept."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the stored fields; integration is in float64."""
    verify_tol: Annotated[float, Field(gt=0)] = 1e-2
    """Most that halving dt may change over a Lyapunov time, as a share of the fields' standard deviation."""
    tail_tol: Annotated[float, Field(gt=0)] = 1e-6
    """Most of the energy that the finest tenth of the modes may hold; above it the grid is too coarse."""
    split: Split | None = None
    """Parts `train`, `valid` and `test`; without it the dataset stays whole."""

    def parts(self) -> dict[str, type[Kind]]:
        """Return the parts of the split, and the true model."""
        return {**split_parts(self.split), SYSTEM: Model}

    def record_step(self) -> float:
        """Return the time between two records."""
        return (self.dt or self.system.default_time_step()) * self.record_every

    def chosen_integrator(self) -> IntegratorSpec:
        """Return the integrator, or what suits the system."""
        if self.integrator is not None:
            return self.integrator
        adapter: TypeAdapter[IntegratorSpec] = TypeAdapter(AnyIntegrator)
        return adapter.validate_python(self.system.default_integrator())

    def modules(self) -> tuple[str, ...]:
        """Return the generation and the integrator."""
        return ("koopcast.generation", type(self.chosen_integrator()).__module__)

    def outline(self, inputs: Inputs) -> Contract:
        """Return what the system says of its fields, with the counts of this step."""
        info = self.system.describe()
        time = replace(info.time, size=self.steps, step=self.record_step())
        whole = replace(info, time=time, samples=self.samples)
        return Contract(Dataset, self._split(whole))

    def _split(self, info: FieldsInfo) -> FieldsInfo:

        if self.split is None:
            return info
        return apply_split(info, self.split, self.record_step() * np.arange(self.steps))

    def rules(self, inputs: Inputs) -> Iterator[Problem]:
        """Refuse an integrator that cannot solve the system's equation."""
        form = form_of(self.system.problem())
        integrator = self.chosen_integrator()
        if not integrator.takes(form):
            suits = self.system.default_integrator()
            yield Problem(
                ("integrator",),
                f"'{integrator.kind}' does not solve a {form} equation such as that of '{self.system.kind}'; "
                f"use '{suits}'",
            )
