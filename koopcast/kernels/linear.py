"""The linear kernel."""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from koopcast.kernels.base import KernelSpec


class LinearKernelSpec(KernelSpec):
    """x · y: kernel methods with it are linear ones."""

    kind: Literal["linear"] = "linear"

    reference = "standard"

    def prepare(self, points: Float[Tensor, "point coordinate"]) -> dict[str, Tensor]:
        """Need nothing."""
        return {}

    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return the inner products."""
        return x @ y.mT
