"""Restarted GMRES."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from koopcast.linear import Profile
from koopcast.solvers.arnoldi import arnoldi, least_squares
from koopcast.solvers.base import Solver
from koopcast.solvers.iterative import Correction, IterativeSolver, Method, Operator, PreconditionedSpec, norm

STAGNATION = 1 - 1e-12
"""A cycle that leaves more than this share of the residual will not do better the next time."""


class GMRESSpec(PreconditionedSpec):
    """The smallest residual over a Krylov space, begun anew after every `m` steps."""

    kind: Literal["gmres"] = "gmres"
    m: int = Field(40, ge=2, le=200)
    """Dimension at which a cycle ends."""

    reference = "Saad and Schultz 1986; preconditioned from the right"

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver that carries the preconditioner along."""
        return IterativeSolver(RestartedGMRES(self.m), self.preconditioner.start(profile), self)


class RestartedGMRES(Method):
    """It carries nothing from system to system."""

    def __init__(self, m: int) -> None:
        self._m = m

    def correct(
        self, operator: Operator, r: Float[np.ndarray, " unknown"], target: float, budget: int
    ) -> Correction:
        """Run cycles until the residual meets the target, or a cycle stagnates."""
        y, step, size = np.zeros_like(r), 0, norm(r)
        V = np.empty((len(r), self._m + 1), order="F")
        while size > target and step < budget:
            H = arnoldi(operator, V[:, : budget - step + 1], 0, r, target)
            if not np.isfinite(H).all():
                break
            z = least_squares(H, size)
            y += V[:, : len(z)] @ z
            r = r - V[:, : len(H)] @ (H @ z)
            step += len(z)
            previous, size = size, norm(r)
            if not size < STAGNATION * previous:
                break
        return Correction(operator.precondition(y), step)
