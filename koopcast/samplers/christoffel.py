"""Independent draws from the optimal density of weighted least squares."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from koopcast.numerics.determinantal import Projection
from koopcast.samplers.weighted import WeightedSpec


class ChristoffelSpec(WeightedSpec):
    """Independent draws with density ∝ the inverse Christoffel function ‖φ‖² of the features."""

    kind: Literal["christoffel"] = "christoffel"

    reference = "Cohen and Migliorati 2017, Optimal weighted least-squares methods"

    def indices(
        self, process: Projection, num_features: int, count: int, generator: np.random.Generator
    ) -> Int[np.ndarray, " count"]:
        """Draw from ν."""
        return process.marginal(generator, count)
