"""Steepest descent of a function that is as hard as smooth functions can be."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics import hard_chain
from koopcast.numerics.arrays import normal
from koopcast.rng import torch_generator
from koopcast.spec import Spec
from koopcast.systems.base import EvolvingSpec


class ChainRotation(Spec):
    """The chain is turned into a larger space, so that no coordinate shows it."""

    ambient: PositiveInt = 160
    """Dimension of that space, at least the length of the chain."""
    seed: NonNegativeInt = 0
    """Which rotation: equal numbers give equal ones."""


class HardNonconvexSpec(EvolvingSpec):
    """Gradient flow x' = -∇f of the chain function f_T, in which each coordinate waits for the one before."""

    kind: Literal["hard_nonconvex"] = "hard_nonconvex"
    length: int = Field(40, ge=2)
    """Coordinates T of the chain."""
    rotation: ChainRotation | None = None
    """Hides the chain in a larger space; without, the state is the chain itself."""
    spread: NonNegativeFloat = 0.0
    """Standard deviation of the start around 0; a start other than 0 shows coordinates before their time."""

    reference = "Zhang and Li 2023; the function: Carmon, Duchi, Hinder and Sidford 2020"

    @model_validator(mode="after")
    def _space_holds_the_chain(self) -> "HardNonconvexSpec":
        if self.rotation is not None and self.rotation.ambient < self.length:
            raise ValueError(
                f"rotation.ambient: {self.rotation.ambient} is below length {self.length}; raise ambient"
            )
        return self

    def describe(self) -> FieldsInfo:
        """Return an axis of coordinates."""
        size = self.length if self.rotation is None else self.rotation.ambient
        axis = Axis("state", size, geometry="index")
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return the negative gradient."""
        chain = self.rotated()
        if chain is None:
            return Tendency(lambda x: -hard_chain.gradient(x))
        turned = hard_chain.RotatedChain(chain.U.to(setting.device, setting.dtype))
        return Tendency(lambda x: -turned.gradient(x))

    def rotated(self) -> hard_chain.RotatedChain | None:
        """Return the rotated function; None where the chain is not rotated."""
        if self.rotation is None:
            return None
        generator = torch_generator(self.rotation.seed, "rotation")
        return hard_chain.RotatedChain.drawn(self.rotation.ambient, self.length, generator)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count state 1"]:
        """Return states at or around 0."""
        return self.spread * normal(count, *self.describe().shape, 1, generator=generator)

    def default_time_step(self) -> float:
        """Return 0.01, stable for the curvature 152."""
        return 0.01

    def lyapunov_time(self) -> float:
        """Return 1, in which about four coordinates are found."""
        return 1.0
