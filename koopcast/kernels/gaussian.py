"""The Gaussian kernel."""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from koopcast.kernels.base import ScaledSpec, minus_squared_distance


class GaussianSpec(ScaledSpec):
    """exp(-‖x - y‖²/c²)."""

    kind: Literal["gaussian"] = "gaussian"

    reference = "standard; scale of Colbrook, Mezić & Stepanenko 2024"

    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return exp(-s²), in as few passes over large matrices as there can be."""
        left = x / tensors["scale"]
        return minus_squared_distance(left, left if x is y else y / tensors["scale"]).exp_()
