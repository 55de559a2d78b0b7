"""All orders of magnitude between two bounds alike."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import PositiveFloat, model_validator

from koopcast.distributions.base import DistributionSpec, faulty_order


class LogUniformSpec(DistributionSpec):
    """All orders of magnitude between two positive bounds alike."""

    kind: Literal["log_uniform"] = "log_uniform"
    low: PositiveFloat
    """The lower bound."""
    high: PositiveFloat
    """The upper bound."""

    reference = "the reciprocal law: the logarithm is uniform"

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "LogUniformSpec":
        if fault := faulty_order(self.low, self.high):
            raise ValueError(fault)
        return self

    def quantile(self, u: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return low (high / low)ᵘ."""
        # Rounding of the power must not carry a value out of the bounds.
        return np.clip(self.low * (self.high / self.low) ** u, self.low, self.high)

    def bounds(self) -> tuple[float, float]:
        """Return both bounds."""
        return self.low, self.high
