"""One rise and one fall."""

import math
from typing import Annotated, Literal

from pydantic import Field

from koopcast.schedules.base import ScheduleSpec


class OneCycleSpec(ScheduleSpec):
    """Rise along half a cosine from peak / start_divisor to the peak, then fall to that over
    final_divisor.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Fraction of the steps that the rise takes."""
    start_divisor: Annotated[float, Field(ge=1)] = 25.0
    """Peak over first learning rate."""
    final_divisor: Annotated[float, Field(ge=1)] = 1e4
    """First over last learning rate."""

    reference = "Smith and Topin 2018 (momentum is left alone)"

    def factor(self, step: int, num_steps: int) -> float:
        """Return the cosine between the values at the ends of the phase that `step` is in."""
        start, turn, last = 1 / self.start_divisor, self.rise * num_steps - 1, num_steps - 1
        if step <= turn:
            return _between(start, 1.0, step / turn if turn > 0 else 1.0)
        return _between(1.0, start / self.final_divisor, (step - turn) / (last - turn))


def _between(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
