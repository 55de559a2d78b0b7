"""Latin hypercubes: every parameter alone is spread evenly."""

from typing import Literal

import numpy as np

from koopcast.samplers.base import Points, SamplerSpec, inside


class LatinHypercubeSpec(SamplerSpec):
    """Points of which each of `count` equal layers holds one, in every coordinate."""

    kind: Literal["latin_hypercube"] = "latin_hypercube"

    reference = "McKay, Beckman and Conover 1979, A comparison of three methods for selecting values"
    chooses_rows = False

    def points(self, count: int, dimension: int, generator: np.random.Generator) -> Points:
        """Draw a place inside each layer, and the order of the layers coordinate by coordinate."""
        layer = np.argsort(generator.random((count, dimension)), axis=0)
        return Points(inside((layer + generator.random((count, dimension))) / count), np.ones(count))
