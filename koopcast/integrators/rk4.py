"""The classical Runge-Kutta method."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import Problem, Stepper, Tendency
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec


class RK4Spec(IntegratorSpec):
    """Four stages, fourth order, for x' = f(x)."""

    kind: Literal["rk4"] = "rk4"

    reference = "Kutta 1901"
    order = 4

    def build(self, problem: Problem, dt: float) -> Stepper:
        if not isinstance(problem, Tendency):
            raise ShapeMismatch(
                "rk4 solves x' = f(x); this system is semilinear", "choose `integrator: etdrk4`"
            )
        f = problem.function

        def step(x: Float[Tensor, "*batch state"]) -> Float[Tensor, "*batch state"]:
            k1 = f(x)
            k2 = f(torch.add(x, k1, alpha=dt / 2))
            k3 = f(torch.add(x, k2, alpha=dt / 2))
            k4 = f(torch.add(x, k3, alpha=dt))
            total = torch.add(k1, k2, alpha=2).add_(k3, alpha=2).add_(k4)
            return torch.add(x, total, alpha=dt / 6)

        return step

    def takes(self, problem_form: Literal["tendency", "semilinear"]) -> bool:
        return problem_form == "tendency"
