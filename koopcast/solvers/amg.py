"""Conjugate gradients with algebraic multigrid."""

from typing import Literal

import numpy as np
from pydantic import Field

from koopcast.linear import Profile
from koopcast.solvers.base import Solver
from koopcast.solvers.cg import ConjugateGradients
from koopcast.solvers.iterative import IterativeSolver, IterativeSpec
from koopcast.solvers.preconditioners.amg import AMGSpec as MultigridSpec
from koopcast.solvers.preconditioners.amg import Coarsening
from koopcast.solvers.preconditioners.base import refusal_of_others


class AMGSpec(IterativeSpec):
    """Conjugate gradients with a V-cycle of algebraic multigrid, whose hierarchy serves similar matrices."""

    kind: Literal["amg"] = "amg"
    coarsening: Coarsening = "ruge_stuben"
    """How coarse levels are chosen: by strong couplings, or by aggregates."""
    growth: float = Field(2.0, ge=1, le=100)
    """The hierarchy of an earlier matrix serves until iterations exceed their first number by this factor."""

    reference = (
        "Ruge and Stüben 1987; Vaněk, Mandel and Brezina 1996; hierarchies by pyamg (Bell et al. 2023)"
    )

    def refusal(self, profile: Profile) -> str | None:
        """Refuse matrices that are not symmetric positive definite."""
        return refusal_of_others("solver amg", profile, "use `direct`, `gmres` or `skr`")

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver without a hierarchy yet."""
        multigrid = MultigridSpec(coarsening=self.coarsening, growth=self.growth)
        return IterativeSolver(ConjugateGradients(), multigrid.start(profile), self)
