"""The Lorentzian kernel."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from koopcast.kernels.base import RadialSpec


class LorentzianSpec(RadialSpec):
    """1 / (1 + ‖x - y‖²/c²)."""

    kind: Literal["lorentzian"] = "lorentzian"

    reference = "standard (rational quadratic of exponent 1); Colbrook, Mezić & Stepanenko 2024"

    def profile(self, squared: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        """Return 1 / (1 + s²)."""
        return 1 / (1 + squared)
