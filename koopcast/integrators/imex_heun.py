"""The trapezoidal rule for the linear part, Heun's method for the rest."""

from typing import Literal

import torch
from jaxtyping import Num
from torch import Tensor

from koopcast.dynamics import Form, Problem, Semilinear, Stepper
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.rounding import rounded


class IMEXHeunSpec(IntegratorSpec):
    """Crank-Nicolson for L and Heun's method for N: second order."""

    kind: Literal["imex_heun"] = "imex_heun"

    reference = "Heun 1900 with Crank and Nicolson 1947; the scheme of the PINO data sets (Li et al. 2021)"
    order = 2

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return one step in the coefficients v.

        (1 - hL/2) v* = (1 + hL/2) v + h N(v), then (1 - hL/2) v⁺ = (1 + hL/2) v + h/2 (N(v) + N(v*)).
        """
        if not isinstance(problem, Semilinear):
            raise ShapeMismatch(
                "imex_heun solves v' = L v + N(v); this system has no linear part of its own",
                "choose `integrator: rk4`",
            )
        N, half = problem.nonlinear, problem.linear * (dt / 2)
        weights = rounded(((1 + half) / (1 - half), dt / (1 - half)))

        def step(v: Num[Tensor, "*batch mode"]) -> Num[Tensor, "*batch mode"]:
            A, B = weights(v)
            Nv, Av = N(v), A * v
            predicted = torch.addcmul(Av, B, Nv)
            return Av.addcmul_(B, Nv + N(predicted), value=0.5)

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is semilinear."""
        return form == "semilinear"
