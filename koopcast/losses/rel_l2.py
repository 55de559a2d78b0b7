"""Relative L2 error."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from koopcast.losses.base import LossSpec, Measure

FLOOR = 1e-3
"""Targets smaller than this fraction of the training data's rms count as that large: a zero target has no
scale."""


class RelativeL2Spec(LossSpec):
    """Mean over batch and variables of ‖p - u‖ / ‖u‖, the norm of L2 over frames and the cells that count."""

    kind: Literal["rel_l2"] = "rel_l2"

    reference = "Li et al. 2021 (per channel here, so that units do not mix; small ‖u‖ are bounded below)"

    def measure(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        measure: Measure,
    ) -> Float[Tensor, ""]:
        """Return the mean of the ratios."""
        return relative(
            measure.mean_square(prediction - target),
            measure.mean_square(target),
            FLOOR * measure.rms,
            measure.frames,
        )


def relative(
    error: Float[Tensor, "batch channel"],
    size: Float[Tensor, "batch channel"],
    floor: Float[Tensor, " channel"],
    frames: int = 1,
) -> Float[Tensor, ""]:
    """Return the mean of √(error / size) with √size at least `floor`; a channel that is zero throughout
    counts by its error. Frames among the channels, variables fastest, are taken together.
    """
    if frames > 1:
        error, size = (values.unflatten(1, (frames, -1)).mean(1) for values in (error, size))
        floor = floor[: error.shape[1]]
    floor = floor.where(floor > 0, 1.0)
    ratio = error / size.clamp_min(floor.square())
    return (ratio + TINY).sqrt().mean()


TINY = 1e-24
"""Keeps the derivative of the root finite at a perfect prediction."""
