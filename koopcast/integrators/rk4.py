"""The classical Runge-Kutta method."""

from collections.abc import Callable
from typing import Any, Literal

from koopcast.dynamics import Form, Problem, Stepper, Tendency
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.arrays import AnyArray


class RK4Spec(IntegratorSpec):
    """Four stages, fourth order, for x' = f(x)."""

    kind: Literal["rk4"] = "rk4"

    reference = "Kutta 1901"
    order = 4

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return one step of tensors, or of arrays where the problem takes them."""
        if not isinstance(problem, Tendency):
            raise ShapeMismatch(
                "rk4 solves x' = f(x); this system is semilinear", "choose `integrator: etdrk4`"
            )
        f: Callable[[Any], Any] = problem.function  # of tensors and, where it says so, of arrays

        def step(x: AnyArray) -> AnyArray:
            k1 = f(x)
            k2 = f(_sum(x, dt / 2, k1))
            k3 = f(_sum(x, dt / 2, k2))
            k4 = f(_sum(x, dt, k3))
            total = k2 + k3
            total *= 2
            total += k1
            total += k4
            result: AnyArray = _sum(x, dt / 6, total)
            return result

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is a tendency."""
        return form == "tendency"


def _sum(x: AnyArray, factor: float, k: AnyArray) -> AnyArray:
    """Return x + factor k; `k` itself stays, since a right-hand side may return its argument."""
    result: AnyArray = factor * k
    result += x
    return result
