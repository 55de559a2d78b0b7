"""The smallest residual for symmetric matrices, definite or not."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from koopcast.linear import Profile
from koopcast.solvers.base import Solver
from koopcast.solvers.iterative import Correction, IterativeSolver, IterativeSpec, Method, Operator, norm
from koopcast.solvers.preconditioners import NoneSpec

LEAST_SQUARES = 1e-7
"""Share of ‖A‖ ‖r‖ at which ‖A r‖ counts as zero: no x does better. Round-off lets it fall no lower than
the root of the unit round-off."""


class MINRESSpec(IterativeSpec):
    """The smallest residual over a Krylov space of a symmetric matrix, by short recurrences."""

    kind: Literal["minres"] = "minres"

    reference = "Paige and Saunders 1975; without preconditioner"

    def refusal(self, profile: Profile) -> str | None:
        """Refuse matrices that are not symmetric."""
        if profile.is_symmetric:
            return None
        return "solver minres: these matrices are not symmetric; use `direct`, `gmres` or `skr`"

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return the solver; it carries nothing."""
        return IterativeSolver(MinimalResidual(), NoneSpec().start(profile), self)


class MinimalResidual(Method):
    """Lanczos vectors v, and Givens rotations of their tridiagonal matrix."""

    def correct(
        self, operator: Operator, r: Float[np.ndarray, " unknown"], target: float, budget: int
    ) -> Correction:
        """Iterate until the rotated right-hand side, which is the residual, meets the target."""
        x, step = np.zeros_like(r), 0
        size = norm(r)
        v_old, v = np.zeros_like(r), r / size
        d_old, d = np.zeros_like(r), np.zeros_like(r)
        cosine_old, sine_old, cosine, sine = 1.0, 0.0, 1.0, 0.0
        beta = scale = 0.0
        while abs(size) > target and step < budget:
            step += 1
            w = operator.product(v)
            alpha = float(v @ w)
            w -= alpha * v + beta * v_old
            following = norm(w)
            # Column (ε, δ, γ) of the triangular factor, from (β, α, β₊) and the last two rotations.
            epsilon, delta = sine_old * beta, cosine * cosine_old * beta + sine * alpha
            gamma = cosine * alpha - sine * cosine_old * beta
            rho = math.hypot(gamma, following)
            scale = max(scale, abs(alpha) + beta + following)
            if not math.hypot(gamma, cosine * following) > LEAST_SQUARES * scale:
                break
            cosine_old, sine_old, cosine, sine = cosine, sine, gamma / rho, following / rho
            d_old, d = d, (v - epsilon * d_old - delta * d) / rho
            x += cosine * size * d
            size *= -sine
            if not following > LEAST_SQUARES * scale:
                break
            v_old, v, beta = v, w / following, following
        return Correction(x, step)
