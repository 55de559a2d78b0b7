"""Keep the initial state alone."""

from typing import Literal

from torch import Tensor

from koopcast.gradients.base import GradientSpec, Tape


class RecomputeSpec(GradientSpec):
    """Every state is computed again from the initial one: n + n(n-1)/2 steps forward, two states."""

    kind: Literal["recompute"] = "recompute"

    reference = "Gavranovic 2022: composition of lenses"

    def backward(self, tape: Tape, x: Tensor) -> Tensor:
        """Go forward to each step once more, the last first."""
        first = tape.keep(x)
        adjoint = tape.seed(tape.count, tape.advance(x, 0, tape.count))
        for k in reversed(range(tape.count)):
            adjoint = tape.pull(k, tape.advance(tape.look(first), 0, k), adjoint)
        return adjoint
