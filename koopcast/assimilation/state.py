"""Where a chain of analyses stands."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.errors import StoreDamaged

MEMORY = "memory."
"""Prefix of the names of what a method remembers."""
GUARD = "guard."
"""Prefix, within the memory, of what the limits of the chain are judged by."""


@dataclass(frozen=True)
class CycleState:
    """All that later cycles depend on: with it a run that was stopped goes on as if it had not been."""

    ensemble: Float[Tensor, "batch member state"]
    """float64, at record `record` of the window, after the analysis if there was one; of a smoother, where
    its next window starts."""
    generator: torch.Generator
    cycle: int = 0
    """Observation times that are done."""
    record: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What the method itself remembers."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, for a restart file."""
        position = torch.tensor([self.cycle, self.record])
        memory = {MEMORY + name: tensor for name, tensor in self.memory.items()}
        whole = {"ensemble": self.ensemble, "generator": self.generator.get_state(), "position": position}
        return whole | memory

    @classmethod
    def restored(cls, tensors: dict[str, Tensor]) -> "CycleState":
        """Return the state that `tensors` described.

        Raises:
            StoreDamaged: They describe none.
        """
        try:
            generator = torch.Generator(device=tensors["ensemble"].device)
            generator.set_state(tensors["generator"].cpu())
            cycle, record = tensors["position"].tolist()
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise StoreDamaged(
                f"this is no state of a chain ({error})", "restore it from a backup"
            ) from error
        memory = {
            name.removeprefix(MEMORY): tensor for name, tensor in tensors.items() if name.startswith(MEMORY)
        }
        return cls(tensors["ensemble"], generator, cycle, record, memory)


def saved(memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the memory of a guard as part of that of a chain."""
    return {GUARD + name: tensor.clone() for name, tensor in memory.items()}


def guarded(memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a chain's memory that is its guard's."""
    return {name.removeprefix(GUARD): tensor for name, tensor in memory.items() if name.startswith(GUARD)}


def of_method(memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a chain's memory that is its method's."""
    return {name: tensor for name, tensor in memory.items() if not name.startswith(GUARD)}
