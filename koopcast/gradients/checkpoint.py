"""Keep a state every so many steps."""

import math
from typing import Literal

from pydantic import PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import InvalidInput
from koopcast.gradients.base import GradientSpec, Tape
from koopcast.gradients.storage import Disk, Memory, Storage
from koopcast.gradients.store import over_segment


class CheckpointSpec(GradientSpec):
    """Every s-th state is kept, and a segment of s steps is run again when the way back comes to it.

    Where s divides n: n + (n/s)(s - 1) steps forward, n/s + s states.
    """

    kind: Literal["checkpoint"] = "checkpoint"
    segment: PositiveInt | Literal["auto"] = "auto"
    """Steps s of a segment; `auto`: √n, rounded up, which keeps the fewest states."""
    residual: Literal["state", "stages"] = "state"
    """What is kept of the steps of the segment that is run again: states, or all that derivatives need."""
    storage: Literal["memory", "disk"] = "memory"
    """Where states wait."""

    reference = "Griewank and Walther 2008, section 12.2"

    @model_validator(mode="after")
    def _stages_stay_in_memory(self) -> "CheckpointSpec":
        if self.residual == "stages" and self.storage == "disk":
            raise ValueError(
                "storage: stages cannot be kept on disk; use `residual: state`, or `storage: memory`"
            )
        return self

    def opened(self) -> Storage:
        """Return memory or disk."""
        return Disk() if self.storage == "disk" else Memory()

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
