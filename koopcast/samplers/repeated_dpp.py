"""Several independent determinantal draws together."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from koopcast.numerics.determinantal import Projection
from koopcast.samplers.weighted import WeightedSpec


class RepeatedDPPSpec(WeightedSpec):
    """Independent draws of `dpp` together: stable fits from few rows, if a multiple of the features."""

    kind: Literal["repeated_dpp"] = "repeated_dpp"

    reference = (
        "Nouy and Michel 2023, Weighted least-squares approximation with determinantal point processes"
    )

    def indices(
        self, process: Projection, num_features: int, count: int, generator: np.random.Generator
    ) -> Int[np.ndarray, " count"]:
        """Draw the process count / m times."""
        return process.draw(count // num_features, generator).ravel()

    def faulty_count(self, count: int, num_features: int | None = None) -> str | None:
        """Refuse a count that is no multiple of the number of features."""
        if num_features is None or count % num_features == 0:
            return None
        below = count // num_features * num_features
        nearest = f"{below} or {below + num_features}" if below else f"{num_features} or {2 * num_features}"
        return f"{count} is no multiple of the {num_features} features of repeated_dpp; take {nearest}"
