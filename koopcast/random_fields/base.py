"""Random fields: laws of coefficients, sources and initial states that do not depend on the grid."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.grids import Axis
from koopcast.spec import MethodSpec


class RandomFieldSpec(MethodSpec):
    """Options of a random field.

    One seed gives one function, whatever the grid: coefficients are drawn mode by mode, coarse modes
    first, so that a finer grid draws the same numbers and then more.
    """

    @abstractmethod
    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw `count` fields, float64, at the nodes of the axes."""

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why the law has no meaning on such axes, and what to do; None where it has."""
        return None
