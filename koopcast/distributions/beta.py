"""The beta law between two bounds."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import PositiveFloat, model_validator
from scipy.special import betaincinv

from koopcast.distributions.base import DistributionSpec, faulty_order


class BetaSpec(DistributionSpec):
    """A hump, a slope or a trough between two bounds, with density ∝ xᵃ⁻¹ (1 - x)ᵇ⁻¹ on (0, 1)."""

    kind: Literal["beta"] = "beta"
    a: PositiveFloat = 2.0
    """Power at the lower bound: above 1 the density vanishes there, below 1 it grows without limit."""
    b: PositiveFloat = 2.0
    """Power at the upper bound."""
    low: float = 0.0
    """The lower bound."""
    high: float = 1.0
    """The upper bound."""

    reference = "the beta law, stretched to [low, high]"

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "BetaSpec":
        if fault := faulty_order(self.low, self.high):
            raise ValueError(fault)
        return self

    def quantile(self, u: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return low + (high - low) I⁻¹(u; a, b), the inverse of the regularised incomplete beta function."""
        return self.low + (self.high - self.low) * np.asarray(betaincinv(self.a, self.b, u))

    def bounds(self) -> tuple[float, float]:
        """Return both bounds."""
        return self.low, self.high
