"""The solver that the structure of the matrices asks for."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from koopcast.linear import Profile
from koopcast.solvers.amg import AMGSpec
from koopcast.solvers.base import Solver, SolverSpec
from koopcast.solvers.box import are_fast
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.direct import DirectSpec
from koopcast.solvers.fft import FFTSpec
from koopcast.solvers.gmres import GMRESSpec
from koopcast.solvers.iterative import PreconditionedSpec
from koopcast.solvers.minres import MINRESSpec
from koopcast.solvers.preconditioners import FFTSpec as NearbySpec
from koopcast.solvers.preconditioners import SSORSpec
from koopcast.solvers.skr import SKRSpec
from koopcast.solvers.trial import Trial

MOST_UNKNOWNS = {1: 300**2, 2: 300**2, 3: 12**3}
"""Unknowns up to which sparse LU is the fastest, by number of axes; one axis may stand for any graph."""

SHARED = 4
"""Factor by which more unknowns are worth one factorisation that serves all samples."""

LEAST_SIDE = 47
"""Unknowns along each axis of a plane from which some tens of transforms are cheaper than sparse LU."""

CG_STEPS = 32
"""Iterations with transforms that cost about as much as sparse LU on the smallest such plane."""

GMRES_STEPS = 40
"""The same where LU has no symmetry to use: one cycle."""


class AutoSpec(SolverSpec):
    """Chooses by structure: transforms on a box or near one, then LU, multigrid or recycling."""

    kind: Literal["auto"] = "auto"
    tolerance: float = Field(1e-8, ge=1e-14, le=1e-1)
    """‖b - A x‖ / ‖b‖ that is asked of the chosen solver."""

    reference = "measured choices: Golub and Van Loan 2013 (4.8, 11); Saad 2003"

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return the chosen solver, with the one on trial before it."""
        solver = self.choice(profile)[0].build(profile, generator)
        trial = self.trial(profile)
        return solver if trial is None else Trial(trial.build(profile, generator), solver)

    def order(
        self,
        profile: Profile,
        features: Sequence[Float[np.ndarray, " feature"]],
        grid: tuple[int, ...] | None = None,
    ) -> Int[np.ndarray, " system"]:
        """Return the order that the chosen solver prefers."""
        return self.choice(profile)[0].order(profile, features, grid)

    def reason(self, profile: Profile) -> str:
        """Return the chosen solver, and why; before it the one on trial."""
        spec, why = self.choice(profile)
        chosen, trial = f"{spec.kind}: {why}", self.trial(profile)
        if trial is None:
            return chosen
        return (
            f"{trial.kind} with fft, until a system takes over {trial.max_iterations} iterations: "
            f"a nearby operator on a box is inverted by transforms; from then on {chosen}"
        )

    def trial(self, profile: Profile) -> PreconditionedSpec | None:
        """Return the options of the method that goes first, until a system exceeds its budget."""
        is_plane = len(profile.grid) == 2 and min(profile.grid) >= LEAST_SIDE
        is_solved_at_once = profile.is_shared or profile.has_boxes or profile.box is not None
        if profile.nearby is None or is_solved_at_once or not (is_plane and profile.is_definite):
            return None
        if not are_fast(profile.nearby, profile.grid):
            return None
        nearby, tolerance = NearbySpec(), self.tolerance
        if profile.is_symmetric:
            return CGSpec(tolerance=tolerance, max_iterations=CG_STEPS, preconditioner=nearby)
        steps = GMRES_STEPS
        return GMRESSpec(tolerance=tolerance, max_iterations=steps, m=steps, preconditioner=nearby)

    def choice(self, profile: Profile) -> tuple[SolverSpec, str]:
        """Return the options of the chosen solver, and why it was chosen."""
        axes, tolerance = len(profile.grid), self.tolerance
        limit = MOST_UNKNOWNS.get(axes, MOST_UNKNOWNS[3])
        few, many = f"at most {limit} unknowns on {axes} axes", f"over {limit} unknowns on {axes} axes"
        if profile.box is not None or profile.has_boxes:
            return FFTSpec(tolerance=tolerance), "constant coefficients on a box are diagonal in its modes"
        if profile.is_shared and profile.size <= SHARED * limit:
            return DirectSpec(tolerance=tolerance), "one factor serves all right-hand sides"
        if profile.size <= limit:
            return DirectSpec(tolerance=tolerance), f"{few}: sparse LU is the fastest"
        if profile.is_symmetric and profile.is_definite:
            return AMGSpec(tolerance=tolerance), f"symmetric positive definite, {many}"
        if profile.is_symmetric:
            return MINRESSpec(tolerance=tolerance), f"symmetric indefinite, {many}"
        sort: Literal["greedy", "none"] = "none" if profile.is_shared else "greedy"
        recycling = SKRSpec(tolerance=tolerance, preconditioner=SSORSpec(), sort=sort)
        return recycling, f"similar matrices that are not symmetric, {many}"
