"""Conjugate gradients."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from koopcast.linear import Profile
from koopcast.solvers.base import Solver
from koopcast.solvers.iterative import Correction, IterativeSolver, Method, Operator, PreconditionedSpec, norm
from koopcast.solvers.preconditioners.base import refusal_of_others


class CGSpec(PreconditionedSpec):
    """The smallest error in the energy norm over a Krylov space, by a recurrence of three vectors."""

    kind: Literal["cg"] = "cg"

    reference = "Hestenes and Stiefel 1952"

    def refusal(self, profile: Profile) -> str | None:
        """Refuse matrices, and preconditioners, that are not symmetric positive definite."""
        if not self.preconditioner.keeps_definite:
            return (
                f"solver cg needs a symmetric preconditioner, {self.preconditioner.kind} is not; "
                "use `ic`, or solver `gmres`"
            )
        remedy = "use `minres` or `direct`" if profile.is_symmetric else "use `direct`, `gmres` or `skr`"
        return refusal_of_others("solver cg", profile, remedy) or self.preconditioner.refusal(profile)

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver that carries the preconditioner along."""
        return IterativeSolver(ConjugateGradients(), self.preconditioner.start(profile), self)


class ConjugateGradients(Method):
    """It carries nothing from system to system."""

    def correct(
        self, operator: Operator, r: Float[np.ndarray, " unknown"], target: float, budget: int
    ) -> Correction:
        """Iterate until the recurrence of the residual meets the target, or a curvature pᵀ A p ≤ 0 shows."""
        x, r, step = np.zeros_like(r), r.copy(), 0
        z = operator.precondition(r)
        p, rho = z.copy(), float(r @ z)
        while norm(r) > target and step < budget:
            step += 1
            q = operator.product(p)
            curvature = float(p @ q)
            if not (curvature > 0 and rho > 0):
                break
            alpha = rho / curvature
            x += alpha * p
            r -= alpha * q
            z = operator.precondition(r)
            previous, rho = rho, float(r @ z)
            p *= rho / previous
            p += z
        return Correction(x, step)
