"""Root-mean-square error in units of the range of the truth."""

from typing import Literal

from koopcast.errors import EmptySelection
from koopcast.metrics.averages import Weighting, cell_weights, pooled_mean, verified
from koopcast.metrics.base import MetricSpec, Score, Verification


class NRMSESpec(MetricSpec):
    """Root-mean-square error over max - min of all that is verified.

    Other papers divide by a mean, a norm or a standard deviation: their numbers are other ones.
    """

    kind: Literal["nrmse"] = "nrmse"
    weighting: Weighting = "area"
    """`area`: cells weigh by their area (cos latitude on the sphere); `uniform`: all the same."""

    reference = "standard"

    def score(self, pair: Verification) -> Score:
        """Return √(Σ w (f - t)² / Σ w) / (max t - min t).

        Raises:
            EmptySelection: The truth does not vary.
        """
        valid = verified(pair)
        truth = pair.truth.astype("float64").where(valid)
        extent = float(truth.max() - truth.min())
        if not extent:
            raise EmptySelection(f"the truth of '{pair.truth.name}' does not vary", "score rmse instead")
        squared = ((pair.forecast - truth) ** 2).where(valid)
        value, pooled = pooled_mean(squared, cell_weights(pair, self.weighting))
        return Score(value**0.5 / extent, pooled**0.5 / extent, "1")
