"""Anything that steps a batch of states; assimilation sees only this."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.numerics.derivatives import pushed

Correction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(state "batch state", measurements "batch cell", mask "batch cell") -> corrected state; the mask is 1 where
there is a measurement. A state without any comes back as it is."""


class Dynamics(ABC):
    """A discrete-time model of fields. One step is one record interval of the data it describes.

    A *frame* is a field at one time, `(*space, channel)`, in physical units. A *state* is the flat vector
    that the model carries from step to step; for a physical model it is the frame, for a latent one an
    encoding of `history` frames.
    """

    info: FieldsInfo
    history: int = 1
    """Consecutive frames, oldest first, that make one state."""
    dtype: torch.dtype = torch.float32
    is_physical: bool = True
    """Whether `state` is the last frame, flattened: needed where cells have a position (localisation)."""
    keeps_tensors: bool = True
    """Whether `step` may keep tensors that it makes: it is then never run in inference mode."""

    @abstractmethod
    def step(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Advance by one record interval."""

    def push(
        self, state: Float[Tensor, "batch state"], direction: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch state"], Float[Tensor, "batch state"]]:
        """Return `step` of the state, and its derivative in a direction."""
        return pushed(self.step, state, direction)

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the state that `history` frames make."""
        return frames[:, -1].flatten(1)

    def decode(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch *space channel"]:
        """Return the frame at the time of the state."""
        return state.reshape(state.shape[0], *self.info.shape, self.info.num_channels)

    def noise_factor(self) -> Float[Tensor, "state rank"] | None:
        """Return F with F Fᵀ the covariance of the one-step error of the state; None for a perfect model."""
        return None

    def noise_std(self) -> Float[Tensor, " state"] | None:
        """Return the standard deviation of independent one-step errors, per entry of the state.

        The diagonal form of `noise_factor`, for states too large for a factor. A driver adds `noise_factor`
        where it is given, else this, else nothing.
        """
        return None

    def correction(self) -> Correction | None:
        """Return how the model itself draws a state to measurements; None where it never learned to."""
        return None

    def forecast(
        self, frames: Float[Tensor, "batch history *space channel"], leads: Sequence[int]
    ) -> Float[Tensor, "batch lead *space channel"]:
        """Return the frames `leads` (increasing, in steps) after the last given one."""
        state, now, result = self.encode(frames.to(self.dtype)), 0, []
        for lead in leads:
            for _ in range(lead - now):
                state = self.step(state)
            now = lead
            result.append(self.decode(state))
        return torch.stack(result, dim=1)


@dataclass(frozen=True)
class Setting:
    """Where and how precisely a system computes, and the parameters that differ from sample to sample."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float64
    """Of real numbers; complex ones have the same precision."""
    parameters: Mapping[str, Float[Tensor, " batch"]] = field(default_factory=dict)
    """Name of an option that the system can vary -> its value in each sample."""

    @property
    def complex_dtype(self) -> torch.dtype:
        """The complex type of the same precision."""
        return torch.complex64 if self.dtype == torch.float32 else torch.complex128

    def value(self, name: str, default: float, axes: int = 1) -> float | Float[Tensor, "batch *axes"]:
        """Return a parameter: the option's own value, or one a sample with `axes` axes of length 1 behind."""
        varied = self.parameters.get(name)
        if varied is None:
            return default
        return varied.to(self.device, torch.float64).reshape(-1, *[1] * axes)


ON_CPU = Setting()
"""Double precision on the CPU, nothing varied."""


@dataclass(frozen=True)
class Tendency:
    """An ordinary differential equation x' = f(x) for an integrator, batched over leading axes."""

    function: Callable[[Float[Tensor, "*batch state"]], Float[Tensor, "*batch state"]]
    takes_arrays: bool = False
    """Whether `function` takes NumPy arrays as well: a few numbers are then stepped several times faster."""
    bandwidth: int | None = None
    """Distance from the diagonal beyond which the Jacobian is zero, for implicit methods; None: not known."""


@dataclass(frozen=True)
class Semilinear:
    """v' = L v + N(v) with L diagonal in some basis: v are Fourier, sine or cosine coefficients.

    `to_spectral` and `to_physical` pass between fields `(*batch, *space, channel)` and coefficients
    `(*batch, *mode)`; `linear` is the diagonal, `(*mode)` or one a sample `(batch, *mode)`.
    """

    linear: Tensor
    """Real or complex, double precision: what a method makes of it is rounded to the setting's type last."""
    nonlinear: Callable[[Tensor], Tensor]
    to_spectral: Callable[[Tensor], Tensor]
    to_physical: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Flow:
    """A system whose map over a time is known in closed form, batched over leading axes.

    `advance(state, time)` returns the state `(*batch, state)` a time later; a discrete-time map takes whole
    numbers of iterations.
    """

    advance: Callable[[Float[Tensor, "*batch state"], float], Float[Tensor, "*batch state"]]


Problem = Tendency | Semilinear | Flow
"""What an evolving system hands to an integrator."""
Form = Literal["tendency", "semilinear", "flow"]
Stepper = Callable[[Tensor], Tensor]
"""One step of an integrator in its own variables: x for a tendency or a flow, v for a semilinear problem."""


def form_of(problem: Problem) -> Form:
    """Return the name of a problem's form."""
    match problem:
        case Tendency():
            return "tendency"
        case Semilinear():
            return "semilinear"
        case Flow():
            return "flow"
