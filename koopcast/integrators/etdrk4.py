"""Exponential time differencing with Runge-Kutta stages for stiff semilinear equations."""

import math
from typing import Literal

import torch
from jaxtyping import Num
from torch import Tensor

from koopcast.dynamics import Form, Problem, Semilinear, Stepper
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.fourier import Product
from koopcast.numerics.rounding import rounded

CONTOUR_POINTS = 32
"""Points of the circle over which coefficients are averaged; 32 give round-off accuracy."""


class ETDRK4Spec(IntegratorSpec):
    """The linear part exactly, the rest to fourth order, for v' = L v + N(v)."""

    kind: Literal["etdrk4"] = "etdrk4"

    reference = (
        "Cox and Matthews 2002; coefficients by contour mean as in Kassam and Trefethen 2005, kept complex"
    )
    order = 4

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return one step in the coefficients v.

        With E = e^{Lh/2}: a = E v + Q N(v), b = E v + Q N(a), c = E a + Q (2 N(b) - N(v)), and the step is
        E² v + f1 N(v) + 2 f2 (N(a) + N(b)) + f3 N(c). Here c = E² v + (E - 1) Q N(v) + 2 Q N(b), the same
        with fewer operations, and a last factor of N is part of the weights.
        """
        if not isinstance(problem, Semilinear):
            raise ShapeMismatch(
                "etdrk4 solves v' = L v + N(v); this system has no linear part of its own",
                "choose `integrator: rk4`",
            )
        N = problem.nonlinear
        E2, E, Q, f1, f2, f3 = coefficients(problem.linear, dt)
        of_N: tuple[Tensor, ...] = (Q, (E - 1) * Q, 2 * Q, f1, 2 * f2, f3)
        if isinstance(N, Product):
            of_N, N = tuple(weight * N.symbol for weight in of_N), N.transform
        weights = rounded((E, E2, *of_N))

        def step(v: Num[Tensor, "*batch mode"]) -> Num[Tensor, "*batch mode"]:
            E, E2, Q, R, Q2, f1, f2, f3 = weights(v)
            Nv, b = N(v), E * v
            Na = N(torch.addcmul(b, Q, Nv))
            Nb = N(b.addcmul_(Q, Na))
            result = E2 * v
            Nc = N(torch.addcmul(result, R, Nv).addcmul_(Q2, Nb))
            return result.addcmul_(f1, Nv).addcmul_(f2, Na + Nb).addcmul_(f3, Nc)

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is semilinear."""
        return form == "semilinear"


def coefficients(linear: Num[Tensor, "*mode"], dt: float) -> tuple[Num[Tensor, "*mode"], ...]:
    """Return e^z, e^{z/2}, Q, f1, f2, f3 at z = L dt, double precision.

    The quotients lose all digits near z = 0, so each is the mean over a unit circle around z. They are real
    for real L alone: with a dispersive L (imaginary z) the imaginary parts carry the order of the method.
    """
    z = linear.to(torch.complex128) * dt
    Q, f1, f2, f3 = (torch.zeros_like(z) for _ in range(4))
    # One point at a time: all at once would take 32 times the memory.
    for j in range(CONTOUR_POINTS):
        angle = 2 * math.pi * (j + 0.5) / CONTOUR_POINTS
        r = z + complex(math.cos(angle), math.sin(angle))
        exp_r, weight = torch.exp(r), dt / CONTOUR_POINTS
        Q += weight * (torch.exp(r / 2) - 1) / r
        f1 += weight * (-4 - r + exp_r * (4 - 3 * r + r**2)) / r**3
        f2 += weight * (2 + r + exp_r * (r - 2)) / r**3
        f3 += weight * (-4 - 3 * r - r**2 + exp_r * (4 - r)) / r**3
    result = (torch.exp(z), torch.exp(z / 2), Q, f1, f2, f3)
    return result if linear.is_complex() else tuple(part.real for part in result)
