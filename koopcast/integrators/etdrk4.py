"""Exponential time differencing with Runge-Kutta stages for stiff semilinear equations."""

import math
from typing import Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from koopcast.dynamics import Form, Problem, Semilinear, Stepper
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec

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
        """Return one step in Fourier coefficients."""
        if not isinstance(problem, Semilinear):
            raise ShapeMismatch(
                "etdrk4 solves v' = L v + N(v); this system has no linear part of its own",
                "choose `integrator: rk4`",
            )
        N = problem.nonlinear
        E, E2, Q, f1, f2, f3 = coefficients(problem.linear, dt)

        def step(v: Complex[Tensor, "*batch mode"]) -> Complex[Tensor, "*batch mode"]:
            Nv, half = N(v), E2 * v
            a = torch.addcmul(half, Q, Nv)
            Na = N(a)
            b = torch.addcmul(half, Q, Na)
            Nb = N(b)
            c = torch.addcmul(E2 * a, Q, 2 * Nb - Nv)
            return E * v + f1 * Nv + f2 * (Na + Nb) + f3 * N(c)

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is semilinear."""
        return form == "semilinear"


def coefficients(linear: Complex[Tensor, " mode"], dt: float) -> tuple[Complex[Tensor, " mode"], ...]:
    """Return e^z, e^{z/2}, Q, f1, 2 f2, f3 at z = L dt.

    The quotients lose all digits near z = 0, so each is the mean over a unit circle around z. They stay
    complex: with a dispersive L (imaginary z) the imaginary parts carry the order of the method.
    """
    z = linear.to(torch.complex128) * dt
    angles = (torch.arange(CONTOUR_POINTS, device=z.device, dtype=torch.float64) + 0.5) * (
        2 * math.pi / CONTOUR_POINTS
    )
    r = z[:, None] + torch.polar(torch.ones_like(angles), angles)
    exp_r = torch.exp(r)
    Q = dt * ((torch.exp(r / 2) - 1) / r).mean(dim=1)
    f1 = dt * ((-4 - r + exp_r * (4 - 3 * r + r**2)) / r**3).mean(dim=1)
    f2 = dt * ((2 + r + exp_r * (r - 2)) / r**3).mean(dim=1)
    f3 = dt * ((-4 - 3 * r - r**2 + exp_r * (4 - r)) / r**3).mean(dim=1)
    return torch.exp(z), torch.exp(z / 2), Q, f1, 2 * f2, f3
