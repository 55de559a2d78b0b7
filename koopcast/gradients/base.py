"""Gradients through time: the adjoint of a chain of steps, and what is kept of the way forward for it.

With x_{k+1} = step(x_k) and a cost of all x_k, the adjoint runs λ_n = s_n, λ_k = Mₖᵀ λ_{k+1} + s_k with the
*seeds* s_k, the derivative of the cost by x_k alone; λ_0 is the gradient. Policies differ in the states that
they keep and in the steps that they take again, never in the result.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from koopcast.gradients.storage import Disk, Memory, Storage
from koopcast.spec import MethodSpec

Step = Callable[[Tensor, int], Tensor]
"""(state, its number k) -> state k + 1; asked again for the same k it must do the same: noise included."""
Seeds = Callable[[int, Tensor], Tensor | None]
"""(number k, state) -> derivative of the cost by that state alone; None: 0."""


@dataclass(frozen=True)
class Chain:
    """What is differentiated."""

    step: Step
    seeds: Seeds
    count: int
    """Steps n."""
    parameters: Sequence[Tensor] = ()
    """Tensors on which every step depends: their gradients are summed up on the way."""


@dataclass(frozen=True)
class Gradient:
    """A gradient, and what it cost."""

    value: Tensor
    """λ_0."""
    parameters: tuple[Tensor, ...]
    forward_steps: int
    """Steps taken forward; those that vector-Jacobian products take themselves are `pulled_steps`."""
    peak_states: int
    """States kept at once, with the one in hand."""
    pulled_steps: int
    """Steps taken within vector-Jacobian products: 0 where the stages were kept."""


class GradientSpec(MethodSpec):
    """Options of a policy: what is kept, and what is computed again."""

    @abstractmethod
    def backward(self, tape: "Tape", x: Tensor) -> Tensor:
        """Return λ_0 for the initial state."""

    def opened(self) -> Storage:
        """Return where states wait."""
        return Memory()

    def gradient(self, chain: Chain, initial: Tensor) -> Gradient:
        """Return the gradient of a chain's cost by its initial state.

        Raises:
            InvalidInput: An option does not suit the number of steps.
        """
        tape = Tape(chain, self.opened())
        try:
            value = self.backward(tape, initial.detach())
        finally:
            tape.storage.close()
        return Gradient(value, tuple(tape.sums), tape.forward_steps, tape.peak_states, tape.pulled_steps)


class KeepingSpec(GradientSpec):
    """Options of a policy that keeps all that it needs of neighbouring steps at once."""

    residual: Literal["state", "stages"] = "state"
    """What is kept of a step of them: its state, from which the step is taken again to be differentiated, or
    all that its derivative needs, such as the stages of a Runge-Kutta step (several times the memory)."""
    storage: Literal["memory", "disk"] = "memory"
    """Where states wait."""

    @model_validator(mode="after")
    def _stages_stay_in_memory(self) -> "KeepingSpec":
        if self.residual == "stages" and self.storage == "disk":
            raise ValueError(
                "storage: stages cannot be kept on disk; use `residual: state`, or `storage: memory`"
            )
        return self

    def opened(self) -> Storage:
        """Return memory or disk."""
        return Disk() if self.storage == "disk" else Memory()


class Tape:
    """Takes steps, keeps states, and counts both."""

    def __init__(self, chain: Chain, storage: Storage) -> None:
        self.chain, self.storage = chain, storage
        self.count = chain.count
        self.forward_steps = self.pulled_steps = self._kept = 0
        self.peak_states = 1
        self.sums = [torch.zeros_like(parameter) for parameter in chain.parameters]

    def keep(self, x: Tensor) -> int:
        """Keep a state; return its ticket."""
        self.count_kept(1)
        return self.storage.put(x)

    def look(self, ticket: int) -> Tensor:
        """Return a state that is kept."""
        return self.storage.get(ticket)

    def take(self, ticket: int) -> Tensor:
        """Return a state, and keep it no longer."""
        x = self.storage.get(ticket)
        self.storage.drop(ticket)
        self.count_kept(-1)
        return x

    def count_kept(self, change: int) -> None:
        """Count states that are kept now, and the one in hand."""
        self._kept += change
        self.peak_states = max(self.peak_states, self._kept + 1)

    @torch.no_grad()
    def advance(self, x: Tensor, start: int, count: int) -> Tensor:
        """Return the state `count` steps after state `start`."""
        for k in range(start, start + count):
            x = self.chain.step(x, k)
        self.forward_steps += count
        return x

    def seed(self, k: int, x: Tensor, adjoint: Tensor | None = None) -> Tensor:
        """Return what the cost adds at state k, on top of `adjoint`."""
        forcing = self.chain.seeds(k, x.detach())
        if adjoint is None:
            return torch.zeros_like(x) if forcing is None else forcing
        return adjoint if forcing is None else adjoint + forcing

    def pull(self, k: int, x: Tensor, adjoint: Tensor | None) -> Tensor:
        """Return λ_k of λ_{k+1}; None: step k is the last, and its result makes λ_n."""
        start, end = self._linked(k, x)
        self.pulled_steps += 1
        adjoint = self.seed(k + 1, end) if adjoint is None else adjoint
        return self.pull_linked(k, start, end, adjoint)

    def link(self, k: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take step k forward and keep its stages; return both ends."""
        self.forward_steps += 1
        self.count_kept(1)
        return self._linked(k, x)

    def unlink(self, k: int, ends: tuple[Tensor, Tensor], adjoint: Tensor) -> Tensor:
        """Return λ_k by the stages that were kept, and keep them no longer."""
        self.count_kept(-1)
        return self.pull_linked(k, *ends, adjoint)

    def pull_linked(self, k: int, start: Tensor, end: Tensor, adjoint: Tensor) -> Tensor:
        """Return λ_k through the graph between both ends of step k."""
        pulled, *others = torch.autograd.grad(
            end, (start, *self.chain.parameters), adjoint, materialize_grads=True
        )
        self.sums = [total + other for total, other in zip(self.sums, others, strict=True)]
        return self.seed(k, start, pulled)

    def _linked(self, k: int, x: Tensor) -> tuple[Tensor, Tensor]:
        start = x.detach().requires_grad_()
        with torch.enable_grad():
            return start, self.chain.step(start, k)
