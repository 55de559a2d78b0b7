"""Relative error in a Sobolev norm of any order."""

import math
from collections.abc import Iterator
from typing import Literal

from jaxtyping import Float
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.losses.base import LossSpec, Measure
from koopcast.losses.rel_l2 import FLOOR, relative
from koopcast.losses.waves import faulty_axes
from koopcast.numerics.sobolev import Side, sides, square_norm
from koopcast.spec import Problem

CLOSED_LIMIT = 1.5
"""Orders, in absolute value, from which on the mirror images at the walls count for more than the field."""


class SobolevSpec(LossSpec):
    """Mean over batch and channels of ‖p - u‖_s / ‖u‖_s, ‖r‖_s² = Σ_k (α + 4π²|k|²/D²)^s |r̂(k)|².

    D is the length of an axis (1 where it has none). A positive order weighs fine scales, a negative one
    coarse scales; order 0 is `rel_l2`, by the trapezoidal rule on a closed axis, which is transformed by
    cosines.
    """

    kind: Literal["sobolev"] = "sobolev"
    order: float = Field(1.0, ge=-4, le=4)
    """Order s: below 1.5 in absolute value where an axis is closed."""
    alpha: NonNegativeFloat = 1.0
    """Weight α of the mean; 0: a seminorm, in which an error of the mean counts for nothing."""

    reference = "Czarnecki et al. 2017 (s = 1); Cao et al. 2025 (Spectral-Refiner: negative orders)"

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse what has no waves, and orders that a closed axis does not carry."""
        yield from faulty_axes(fields)
        if abs(self.order) < CLOSED_LIMIT:
            return
        for axis in fields.axes:
            if not axis.periodic:
                yield Problem(
                    ("order",),
                    f"{self.order:g} is not between -{CLOSED_LIMIT} and {CLOSED_LIMIT}, which the cosines of "
                    f"the closed axis '{axis.name}' allow; bring it nearer to 0",
                )

    def measure(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        measure: Measure,
    ) -> Float[Tensor, ""]:
        """Return the mean of the ratios."""
        box = sides(measure.axes)
        error = (prediction - target) * measure.valid[..., None]
        return relative(
            square_norm(error, box, self.order, self.alpha),
            square_norm(target * measure.valid[..., None], box, self.order, self.alpha),
            FLOOR * measure.rms * self._lowest(box),
            measure.frames,
        )

    def _lowest(self, box: tuple[Side, ...]) -> float:
        """Return ‖r‖_s / ‖r‖_0 of the longest wave: what the floor of small targets is in this norm."""
        lowest = min((2 * math.pi / side.period) ** 2 for side in box)
        return float((self.alpha + lowest) ** (self.order / 2))
