"""No preconditioner."""

from typing import Literal

from koopcast.linear import Profile
from koopcast.solvers.preconditioners.base import Fresh, Preconditioner, PreconditionerSpec


class NoneSpec(PreconditionerSpec):
    """The identity, M = I."""

    kind: Literal["none"] = "none"

    reference = "the method itself"

    def start(self, profile: Profile) -> Preconditioner:
        """Return the identity."""
        return Fresh(lambda problem: lambda r: r)
