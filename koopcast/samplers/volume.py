"""Volume sampling: fits without bias."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from koopcast.numerics.determinantal import Projection
from koopcast.samplers.weighted import WeightedSpec


class VolumeSpec(WeightedSpec):
    """Draws with density ∝ det G under νⁿ; the weighted fit is the orthogonal projection in mean."""

    kind: Literal["volume"] = "volume"

    reference = (
        "Derezinski, Warmuth and Hsu 2022, Unbiased estimators for random design regression; "
        "Nouy and Michel 2023. Without conditioning: redrawing brings a bias in"
    )

    def indices(
        self, process: Projection, num_features: int, count: int, generator: np.random.Generator
    ) -> Int[np.ndarray, " count"]:
        """Draw the process once and the rest from ν, in random order."""
        rest = process.marginal(generator, count - num_features)
        return generator.permutation(np.concatenate((process.draw(1, generator)[0], rest)))
