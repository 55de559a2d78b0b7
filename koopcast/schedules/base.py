"""Schedules: the learning rate as a function of the step alone; a resumed training needs no state of it."""

from abc import abstractmethod

from koopcast.spec import MethodSpec


class ScheduleSpec(MethodSpec):
    """Options of a schedule."""

    @abstractmethod
    def factor(self, step: int, num_steps: int) -> float:
        """Return the factor on the peak learning rate at optimizer step `step` of `num_steps`, from 0."""
