"""The deterministic ensemble Kalman filter."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.base import Observed
from koopcast.assimilation.ensemble import whitened
from koopcast.assimilation.gain import GainSpec
from koopcast.assimilation.localization import AnyLocalization


class DEnKFSpec(GainSpec):
    """The mean moves by the gain K, the anomalies by half of it: A ← A - S Kᵀ / 2.

    The covariance is (1 - KH/2) P (1 - KH/2)ᵀ, which exceeds that of the Kalman filter by KH P (KH)ᵀ / 4.
    """

    kind: Literal["denkf"] = "denkf"
    members: int = Field(40, ge=2)
    """Size of the ensemble."""
    localization: AnyLocalization = Field(default="none", validate_default=True)
    """Taper on the sampled covariances, multiplied element by element."""

    reference = "Sakov and Oke 2008, A deterministic formulation of the ensemble Kalman filter"

    def innovations(
        self, observed: Observed, generator: torch.Generator
    ) -> Float[Tensor, "batch member obs"]:
        """Return δ - S/2, whitened."""
        C, delta = whitened(observed)
        return delta[:, None] - C / 2
