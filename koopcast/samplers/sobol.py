"""Sobol points: a net that fills the cube evenly."""

from typing import Literal

import numpy as np

from koopcast.numerics.sobol import sobol_net
from koopcast.samplers.base import Points, SamplerSpec, inside


class SobolSpec(SamplerSpec):
    """Scrambled Sobol points; their balance is complete where the count is a power of 2."""

    kind: Literal["sobol"] = "sobol"

    reference = "Sobol 1967; directions of Joe and Kuo 2008; scrambled as in Matoušek 1998"
    chooses_rows = False

    def points(self, count: int, dimension: int, generator: np.random.Generator) -> Points:
        """Return the first `count` points of a net; the figure `is_power_of_two` tells whether it is whole.

        Raises:
            InvalidInput: More dimensions than the table of directions holds.
        """
        exponent = (count - 1).bit_length()
        net = sobol_net(exponent, dimension, generator)
        figures = {"is_power_of_two": float(count == 2**exponent)}
        return Points(inside(net[:count]), np.ones(count), figures)
