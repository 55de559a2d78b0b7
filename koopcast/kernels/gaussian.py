"""The Gaussian kernel."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from koopcast.kernels.base import RadialSpec


class GaussianSpec(RadialSpec):
    """exp(-‖x - y‖²/c²)."""

    kind: Literal["gaussian"] = "gaussian"

    reference = "standard; scale of Colbrook, Mezić & Stepanenko 2024"

    def profile(self, squared: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        """Return exp(-s²)."""
        return squared.neg_().exp_()
