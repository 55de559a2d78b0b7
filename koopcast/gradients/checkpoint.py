"""Keep a state every so many steps."""

import math
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from koopcast.errors import InvalidInput
from koopcast.gradients.base import KeepingSpec, Tape
from koopcast.gradients.store import over_segment


class CheckpointSpec(KeepingSpec):
    """Every s-th state is kept, and a segment of s steps is run again when the way back comes to it.

    Where s divides n: n + (n/s)(s - 1) steps forward, n/s + s states.
    """

    kind: Literal["checkpoint"] = "checkpoint"
    segment: PositiveInt | Literal["auto"] = "auto"
    """Steps s of a segment; `auto`: √n, rounded up, which keeps the fewest states."""

    reference = "Griewank and Walther 2008, section 12.2"

    def backward(self, tape: Tape, x: Tensor) -> Tensor:
        """Go forward from checkpoint to checkpoint, and back segment by segment."""
        n = tape.count
        segment = math.isqrt(max(n, 1) - 1) + 1 if self.segment == "auto" else self.segment
        if segment > max(n, 1):
            raise InvalidInput(f"segment {segment} is above the {n} steps of the chain", "lower `segment`")
        starts = range(0, n, segment)
        tickets = []
        for start in starts:
            tickets.append(tape.keep(x))
            x = tape.advance(x, start, min(segment, n - start))
        adjoint = tape.seed(n, x)
        for start in reversed(starts):
            # The checkpoint is handed over: it counts as the first state of its segment.
            x = tape.take(tickets.pop())
            adjoint = over_segment(tape, x, (start, min(start + segment, n)), adjoint, self.residual)
        return adjoint
