"""The covariance of the training data."""

from typing import Literal

from pydantic import PositiveFloat

from koopcast.assimilation.backgrounds.base import Background, BackgroundSpec, climatology_of, factor_of
from koopcast.assimilation.base import Setting


class ClimatologicalSpec(BackgroundSpec):
    """B = factor times the sampled covariance of the training data."""

    kind: Literal["climatological"] = "climatological"
    factor: PositiveFloat = 0.1
    """How much smaller the error of a forecast is than the variance of the climate."""

    reference = "as `xB` in the DAPPER benchmark suite, there with the covariance of the truth itself"

    def build(self, setting: Setting) -> Background:
        """Return the same covariance for every ensemble."""
        states = climatology_of(setting, self.kind).states
        anomalies = states - states.mean(dim=0)
        covariance = factor_of(anomalies * (self.factor / max(1, len(states) - 1)) ** 0.5)
        return lambda ensemble: covariance

    def needs_climatology(self) -> bool:
        """Return True."""
        return True
