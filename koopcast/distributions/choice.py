"""One of a few values."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from koopcast.distributions.base import DistributionSpec


class ChoiceSpec(DistributionSpec):
    """One of a few values, all alike; a value that is named twice comes twice as often."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[float, ...], Field(min_length=1)]
    """The values."""

    reference = "the discrete uniform law"

    def quantile(self, u: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return the value number ⌊u k⌋ of the k values in ascending order."""
        values = np.sort(np.asarray(self.values, dtype=np.float64))
        return values[np.minimum((u * len(values)).astype(np.int64), len(values) - 1)]

    def bounds(self) -> tuple[float, float]:
        """Return the least and the greatest value."""
        return min(self.values), max(self.values)
