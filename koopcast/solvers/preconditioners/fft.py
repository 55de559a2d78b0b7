"""A nearby operator with constant coefficients, inverted by fast transforms."""

from typing import Literal

from koopcast.errors import InvalidInput
from koopcast.linear import LinearProblem, Profile
from koopcast.solvers.box import BoxInverse
from koopcast.solvers.preconditioners.base import Apply, Fresh, Preconditioner, PreconditionerSpec


class FFTSpec(PreconditionerSpec):
    """The inverse of a nearby operator with constant coefficients, by fast transforms."""

    kind: Literal["fft"] = "fft"

    reference = "Concus and Golub 1973"

    def start(self, profile: Profile) -> Preconditioner:
        """Return a preconditioner that reads the box operator that comes with every problem."""
        known: list[BoxInverse] = []

        def make(problem: LinearProblem) -> Apply:
            box = problem.nearby or problem.box or profile.box
            if box is None:
                raise InvalidInput(
                    "preconditioner fft: this system states no nearby operator with constant coefficients",
                    "choose another preconditioner, for instance `ssor`",
                )
            if not known or known[0].box is not box:
                known[:] = [BoxInverse(box)]
            return known[0]

        return Fresh(make)
