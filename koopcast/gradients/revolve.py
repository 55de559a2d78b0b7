"""Binomial checkpointing."""

import math
from functools import lru_cache
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from koopcast.gradients.base import GradientSpec, Tape
from koopcast.gradients.storage import Disk, Memory, Storage


class RevolveSpec(GradientSpec):
    """A given number of states is kept where that saves most steps.

    With c checkpoints, and r the least number with n ≤ C(c + r, c), r n - C(c + r, c + 1) steps forward:
    no policy with c states needs fewer. The last step is taken once, where it is differentiated.
    """

    kind: Literal["revolve"] = "revolve"
    checkpoints: PositiveInt = 8
    """States kept at once, c."""
    storage: Literal["memory", "disk"] = "memory"
    """Where states wait."""

    reference = "Griewank and Walther 2000"

    def opened(self) -> Storage:
        """Return memory or disk."""
        return Disk() if self.storage == "disk" else Memory()

    def backward(self, tape: Tape, x: Tensor) -> Tensor:
        """Reverse the whole chain."""
        if tape.count == 0:
            return tape.seed(0, x)
        adjoint = reverse(tape, tape.keep(x), (0, tape.count), self.checkpoints, None)
        assert adjoint is not None
        return adjoint


def reverse(
    tape: Tape, first: int, steps: tuple[int, int], checkpoints: int, adjoint: Tensor | None
) -> Tensor | None:
    """Return λ at the start of a range of steps, whose state is kept under the ticket `first` and given up.

    `checkpoints` counts that state.
    """
    start, stop = steps
    while checkpoints > 1 and stop - start > 1:
        middle = start + split(stop - start, checkpoints)
        ticket = tape.keep(tape.advance(tape.look(first), start, middle - start))
        adjoint = reverse(tape, ticket, (middle, stop), checkpoints - 1, adjoint)
        stop = middle
    for k in reversed(range(start, stop)):
        adjoint = tape.pull(k, tape.advance(tape.look(first), start, k - start), adjoint)
    tape.take(first)
    return adjoint


def repetitions(steps: int, checkpoints: int) -> int:
    """Return the least r with steps ≤ C(checkpoints + r, checkpoints)."""
    r = 0
    while math.comb(checkpoints + r, checkpoints) < steps:
        r += 1
    return r


@lru_cache(maxsize=2**16)
def cost(steps: int, checkpoints: int) -> int:
    """Return the least number of steps forward that reverse a chain: r n - C(c + r, c + 1)."""
    r = repetitions(steps, checkpoints)
    return r * steps - math.comb(checkpoints + r, checkpoints + 1)


@lru_cache(maxsize=2**16)
def split(steps: int, checkpoints: int) -> int:
    """Return how many steps to go before the next checkpoint."""
    totals = [
        middle + cost(steps - middle, checkpoints - 1) + cost(middle, checkpoints)
        for middle in range(1, steps)
    ]
    return totals.index(min(totals)) + 1
