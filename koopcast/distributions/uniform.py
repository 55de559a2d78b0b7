"""All values between two bounds alike."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import model_validator

from koopcast.distributions.base import DistributionSpec, faulty_order


class UniformSpec(DistributionSpec):
    """All values between two bounds alike; `[low, high]` says the same."""

    kind: Literal["uniform"] = "uniform"
    low: float = 0.0
    """The lower bound."""
    high: float = 1.0
    """The upper bound."""

    reference = "the continuous uniform law"

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "UniformSpec":
        if fault := faulty_order(self.low, self.high):
            raise ValueError(fault)
        return self

    def quantile(self, u: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return low + (high - low) u."""
        return self.low + (self.high - self.low) * u

    def bounds(self) -> tuple[float, float]:
        """Return both bounds."""
        return self.low, self.high
