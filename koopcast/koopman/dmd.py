"""Dynamic mode decomposition of frames, or of stacks of delayed frames."""

from typing import Literal

from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor

from koopcast.koopman.projection import LinearMapSpec
from koopcast.numerics.ridge import ridge_regression


class DMDSpec(LinearMapSpec):
    """The best linear map of (stacked) frames, in the leading singular directions of the stacks.

    The state is the projection of the stack of `delays` frames on `rank` directions; with delays it is the
    higher-order decomposition. Its spectrum is that of exact DMD; fields are rebuilt from the projected
    modes.
    """

    kind: Literal["dmd"] = "dmd"
    ridge: NonNegativeFloat = 1e-4
    """Penalty on the coefficients of the map, in units of the mean eigenvalue of the Gram matrix of the
    states: a pure number. 0: least squares."""

    reference = (
        "Tu et al. 2014; delays: Arbabi & Mezić 2017, Le Clainche & Vega 2017; centring: Hirsh et al. 2020"
    )

    def solve(
        self, states: Float[Tensor, "pair state"], following: Float[Tensor, "pair state"]
    ) -> tuple[Float[Tensor, "state state"], float]:
        """Return the map of ridge regression."""
        fit = ridge_regression(states, following, self.ridge)
        return fit.coefficients.mT, fit.degrees_of_freedom
