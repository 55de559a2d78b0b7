"""Integrators: one step of fixed length, batched, on any device."""

from abc import abstractmethod
from typing import ClassVar

from koopcast.dynamics import Form, Problem, Stepper
from koopcast.spec import MethodSpec


class IntegratorSpec(MethodSpec):
    """Options of an integrator."""

    order: ClassVar[int]
    """Order of convergence in the step."""

    @abstractmethod
    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return the map of one step of length `dt` (the problem's time unit), in the problem's own
        variables.

        Raises:
            ShapeMismatch: The problem has not the form that the method needs.
        """

    @abstractmethod
    def takes(self, form: Form) -> bool:
        """Return whether the method solves problems of this form."""
