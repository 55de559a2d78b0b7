"""Mean squared error."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from koopcast.losses.base import LossSpec, Measure


class MeanSquaredErrorSpec(LossSpec):
    """Mean over batch, cells and channels of (p - u)², each channel in units of its variance over the
    training data.
    """

    kind: Literal["mse"] = "mse"

    reference = "standard"

    def measure(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        measure: Measure,
    ) -> Float[Tensor, ""]:
        """Return the mean of the squares."""
        variance = measure.std.square()
        return (measure.mean_square(prediction - target) / variance.where(variance > 0, 1.0)).mean()
