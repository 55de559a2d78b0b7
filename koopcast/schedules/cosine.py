"""Half a cosine, after a linear warm-up."""

import math
from typing import Annotated, Literal

from pydantic import Field

from koopcast.schedules.base import ScheduleSpec

Fraction = Annotated[float, Field(ge=0, le=1)]


class CosineSpec(ScheduleSpec):
    """Rise linearly to the peak over the warm-up, then fall to `final` along half a cosine."""

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Fraction of the steps that the rise takes."""
    final: Fraction = 0.0
    """Factor at the last step."""

    reference = "Loshchilov and Hutter 2017 (without restarts)"

    def factor(self, step: int, num_steps: int) -> float:
        """Return (step + 1) / rise during the rise of `rise` steps, then final + (1 - final) (1 + cos πs) /
        2.
        """
        rise = math.ceil(self.warmup * num_steps)
        if step < rise:
            return (step + 1) / rise
        progress = (step - rise) / max(1, num_steps - 1 - rise)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2
