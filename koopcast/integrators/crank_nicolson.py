"""The trapezoidal rule for the linear part, Euler's method for the rest."""

from typing import Literal

from jaxtyping import Num
from torch import Tensor

from koopcast.dynamics import Form, Problem, Semilinear, Stepper
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.rounding import rounded


class CrankNicolsonSpec(IntegratorSpec):
    """Crank-Nicolson for L and explicit Euler for N: first order, for data made as others made theirs."""

    kind: Literal["crank_nicolson"] = "crank_nicolson"

    reference = "Crank and Nicolson 1947; the scheme of the FNO data sets (Li et al. 2021)"
    order = 1

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return one step in the coefficients: (1 - hL/2) v⁺ = (1 + hL/2) v + h N(v)."""
        if not isinstance(problem, Semilinear):
            raise ShapeMismatch(
                "crank_nicolson solves v' = L v + N(v); this system has no linear part of its own",
                "choose `integrator: rk4`",
            )
        N, half = problem.nonlinear, problem.linear * (dt / 2)
        weights = rounded(((1 + half) / (1 - half), dt / (1 - half)))

        def step(v: Num[Tensor, "*batch mode"]) -> Num[Tensor, "*batch mode"]:
            A, B = weights(v)
            return (A * v).addcmul_(B, N(v))

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is semilinear."""
        return form == "semilinear"
