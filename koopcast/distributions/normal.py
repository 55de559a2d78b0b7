"""The Gaussian law."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import PositiveFloat
from scipy.special import ndtri

from koopcast.distributions.base import DistributionSpec


class NormalSpec(DistributionSpec):
    """Gaussian values around a mean."""

    kind: Literal["normal"] = "normal"
    mean: float = 0.0
    """The mean."""
    std: PositiveFloat = 1.0
    """The standard deviation."""

    reference = "the normal law"

    def quantile(self, u: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return mean + std Φ⁻¹(u)."""
        return self.mean + self.std * np.asarray(ndtri(u))

    def bounds(self) -> tuple[float, float]:
        """Return infinite bounds."""
        return -math.inf, math.inf
