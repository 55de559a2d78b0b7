"""Laws of single numbers: parameters that differ from sample to sample."""

from abc import abstractmethod

import numpy as np
from jaxtyping import Float

from koopcast.spec import MethodSpec


class DistributionSpec(MethodSpec):
    """Options of a law."""

    @abstractmethod
    def quantile(self, u: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return the values below which a share `u` in (0, 1) of the law lies."""

    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Return the least and greatest value; infinite where there is none."""
