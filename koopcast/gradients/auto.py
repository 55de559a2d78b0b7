"""The fewest steps that a limit of memory allows."""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from koopcast.errors import InvalidInput
from koopcast.gradients.base import GradientSpec, Tape
from koopcast.gradients.revolve import RevolveSpec
from koopcast.gradients.store import StoreSpec


class AutoSpec(GradientSpec):
    """`store` where all states fit into the limit, else `revolve` with as many checkpoints as do."""

    kind: Literal["auto"] = "auto"
    memory_limit: PositiveInt = 2**28
    """Bytes that kept states may take, with the one in hand."""

    reference = "Griewank and Walther 2000: of all policies with so many states the one with fewest steps"

    def backward(self, tape: Tape, x: Tensor) -> Tensor:
        """Choose by the size of a state, and go.

        Raises:
            InvalidInput: The limit holds less than two states.
        """
        return self.chosen(tape.count, x.numel() * x.element_size()).backward(tape, x)

    def chosen(self, count: int, state_bytes: int) -> GradientSpec:
        """Return the policy for a chain of `count` steps."""
        states = self.memory_limit // state_bytes
        if states > count:
            return StoreSpec()
        if states < 2:
            raise InvalidInput(
                f"memory_limit {self.memory_limit} bytes is below two states of {state_bytes} bytes each",
                "raise `memory_limit`",
            )
        return RevolveSpec(checkpoints=states - 1)
