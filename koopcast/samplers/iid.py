"""Independent uniform draws: the yardstick of every other sampler."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from koopcast.samplers.base import Points, RowDraw, Rows, SamplerSpec, inside


class IIDSpec(SamplerSpec):
    """Independent uniform draws; a row may come more than once."""

    kind: Literal["iid"] = "iid"

    reference = "plain Monte Carlo"

    def drawing(self, features: Float[np.ndarray, "candidate feature"]) -> RowDraw:
        """Return draws of rows, all alike."""
        candidates = features.shape[0]

        def draw(count: int, generator: np.random.Generator) -> Rows:
            return Rows(generator.integers(candidates, size=count), np.ones(count))

        return draw

    def points(self, count: int, dimension: int, generator: np.random.Generator) -> Points:
        """Draw every coordinate by itself."""
        return Points(inside(generator.random((count, dimension))), np.ones(count))
