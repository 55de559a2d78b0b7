"""The classical Runge-Kutta method behind an integrating factor, for stiff semilinear equations."""

from typing import Literal

import torch
from jaxtyping import Num
from torch import Tensor

from koopcast.dynamics import Form, Problem, Semilinear, Stepper
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.rounding import rounded


class IFRK4Spec(IntegratorSpec):
    """The linear part exactly, Runge-Kutta in e^{-Lt} v: fourth order, less accurate than etdrk4."""

    kind: Literal["ifrk4"] = "ifrk4"

    reference = "Lawson 1967; as in Trefethen 2000, program 27"
    order = 4

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return one step in the coefficients v.

        With E = e^{Lh/2}: k1 = h N(v), k2 = h N(E (v + k1/2)), k3 = h N(E v + k2/2), k4 = h N(E² v + E k3),
        and the step is E² v + (E² k1 + 2 E (k2 + k3) + k4)/6.
        """
        if not isinstance(problem, Semilinear):
            raise ShapeMismatch(
                "ifrk4 solves v' = L v + N(v); this system has no linear part of its own",
                "choose `integrator: rk4`",
            )
        N, h = problem.nonlinear, dt
        z = problem.linear * dt
        weights = rounded((torch.exp(z / 2), torch.exp(z)))

        def step(v: Num[Tensor, "*batch mode"]) -> Num[Tensor, "*batch mode"]:
            E, E2 = weights(v)
            k1, Ev, result = N(v), E * v, E2 * v
            k2 = N(torch.addcmul(Ev, E, k1, value=h / 2))
            k3 = N(torch.add(Ev, k2, alpha=h / 2))
            k4 = N(torch.addcmul(result, E, k3, value=h))
            result.addcmul_(E2, k1, value=h / 6)
            return result.addcmul_(E, k2 + k3, value=h / 3).add_(k4, alpha=h / 6)

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is semilinear."""
        return form == "semilinear"
