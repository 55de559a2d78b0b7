"""No schedule."""

from typing import Literal

from koopcast.schedules.base import ScheduleSpec


class ConstantSpec(ScheduleSpec):
    """The peak learning rate throughout."""

    kind: Literal["constant"] = "constant"

    reference = "standard"

    def factor(self, step: int, num_steps: int) -> float:
        """Return 1."""
        return 1.0
