"""Lorenz's ring of slow cells, each of which drives a stretch of a ring of fast ones."""

from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.dynamics import ON_CPU, Setting, Tendency
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.arrays import AnyArray, Ring, normal
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.parameters import coefficient


class Lorenz96TwoScaleSpec(EvolvingSpec):
    """Two-scale Lorenz-96: slow cells X_k, each coupled to the fast cells Y_{1,k}, ..., Y_{J,k}.

    X_k' = (X_{k+1} - X_{k-2}) X_{k-1} - X_k + F - (hc/b) Σ_j Y_{j,k};
    Y_j' = cb (Y_{j-1} - Y_{j+2}) Y_{j+1} - c Y_j + (hc/b) X_{k(j)}, the fast cells one ring of K·J.
    The state holds each slow cell followed by its own fast ones: neighbours on the axis are neighbours on
    the circle of latitude, as localisation needs, and `locations: {kind: every, step: J + 1}` observes the
    slow cells alone.
    """

    kind: Literal["lorenz96_two_scale"] = "lorenz96_two_scale"
    slow: int = Field(36, ge=4)
    """Slow cells K."""
    fast: int = Field(10, ge=1)
    """Fast cells J of each slow one."""
    forcing: float = 10.0
    """Forcing F of the slow cells."""
    coupling: float = 1.0
    """Coupling h."""
    time_ratio: PositiveFloat = 10.0
    """How much faster the fast cells move, c."""
    amplitude_ratio: PositiveFloat = 10.0
    """How much smaller their swings are, b."""

    reference = "Lorenz 1996, Predictability: a problem partly solved, equations 2 and 3"
    varied: ClassVar[tuple[str, ...]] = ("forcing", "coupling", "time_ratio", "amplitude_ratio")

    def describe(self) -> FieldsInfo:
        """Return a periodic axis of K(1 + J) cells."""
        axis = Axis("state", self.slow * (1 + self.fast), geometry="index", periodic=True)
        return FieldsInfo({"X": "1"}, (axis,), TimeAxis(1, self.default_time_step()))

    def problem(self, setting: Setting = ON_CPU) -> Tendency:
        """Return the tendency."""
        F, h, c, b = (coefficient(self, setting, name, axes=1) for name in self.varied)
        slow_ring, fast_ring = Ring(1, -1, -2), Ring(-1, 1, 2)
        shape, size = (self.slow, self.fast), self.slow * self.fast
        exchange = h * c / b

        def tendency(state: AnyArray) -> AnyArray:
            cells = state.reshape(*state.shape[:-1], self.slow, 1 + self.fast)
            X, Y = cells[..., 0], cells[..., 1:].reshape(*state.shape[:-1], size)
            after, before, second = slow_ring.neighbours(X)
            slow = (after - second) * before - X + F - exchange * Y.reshape(*Y.shape[:-1], *shape).sum(-1)
            before, after, second = fast_ring.neighbours(Y)
            fast = (c * b) * ((before - second) * after) - c * Y + exchange * _spread(X, self.fast)
            return _interleaved(slow, fast.reshape(*fast.shape[:-1], *shape))

        return Tendency(tendency, takes_arrays=not setting.parameters)

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count cell 1"]:
        """Draw slow cells around F/2 and fast ones around 0, with standard deviations 1 and 1/b."""
        cells = normal(count, self.slow, 1 + self.fast, generator=generator)
        cells[..., 1:] /= self.amplitude_ratio
        cells[..., 0] += self.forcing / 2
        return cells.reshape(count, -1, 1)

    def default_time_step(self) -> float:
        """Return 0.05 / c: the step of the one-scale ring in the fast cells' time."""
        return 0.05 / max(1.0, self.time_ratio)

    def spin_up_time(self) -> float:
        """Return 10."""
        return 10.0

    def lyapunov_time(self) -> float:
        """Return 1 / c: errors grow in the fast cells first, at the default parameters with exponent 9.5."""
        return 1 / max(1.0, self.time_ratio)


def _spread(X: AnyArray, fast: int) -> AnyArray:
    """Return each slow value once for each of its fast cells."""
    if isinstance(X, Tensor):
        return X.repeat_interleave(fast, dim=-1)
    return np.repeat(X, fast, axis=-1)


def _interleaved(slow: AnyArray, fast: AnyArray) -> AnyArray:
    """Return the state of slow cells `(*batch, K)` and fast ones `(*batch, K, J)`."""
    shape = (*slow.shape[:-1], slow.shape[-1] * (1 + fast.shape[-1]))
    if isinstance(slow, Tensor) and isinstance(fast, Tensor):
        return torch.cat((slow[..., None], fast), dim=-1).reshape(shape)
    return np.concatenate((slow[..., None], fast), axis=-1).reshape(shape)
