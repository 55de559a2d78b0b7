"""The Laplacian kernel."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.kernels.base import RadialSpec


class LaplacianSpec(RadialSpec):
    """exp(-‖x - y‖/c)."""

    kind: Literal["laplacian"] = "laplacian"

    reference = "standard; scale of Colbrook, Mezić & Stepanenko 2024"

    def profile(self, squared: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
        """Return exp(-s)."""
        return torch.exp(-squared.sqrt())
