"""The strong-stability-preserving Runge-Kutta method of Shu and Osher."""

from collections.abc import Callable
from typing import Any, Literal

from koopcast.dynamics import Form, Problem, Stepper, Tendency
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.arrays import AnyArray


class SSPRK3Spec(IntegratorSpec):
    """Three stages, third order, for x' = f(x): averages of Euler steps, so it keeps what those keep."""

    kind: Literal["ssprk3"] = "ssprk3"

    reference = "Shu and Osher 1988; Gottlieb, Shu and Tadmor 2001"
    order = 3

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return one step of tensors, or of arrays where the problem takes them."""
        if not isinstance(problem, Tendency):
            raise ShapeMismatch(
                "ssprk3 solves x' = f(x); this system has another form", "leave `integrator` to the system"
            )
        f: Callable[[Any], Any] = problem.function  # of tensors and, where it says so, of arrays

        def step(x: AnyArray) -> AnyArray:
            first = x + dt * f(x)
            second = 0.75 * x + 0.25 * (first + dt * f(first))
            result: AnyArray = x / 3 + (2 / 3) * (second + dt * f(second))
            return result

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is a tendency."""
        return form == "tendency"
