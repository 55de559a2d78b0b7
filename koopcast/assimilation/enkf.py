"""The stochastic ensemble Kalman filter with perturbed observations."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.base import Observed
from koopcast.assimilation.gain import GainSpec
from koopcast.assimilation.localization import AnyLocalization
from koopcast.numerics.ensembles import centred_errors


class EnKFSpec(GainSpec):
    """Each member is drawn to observations perturbed with their own error, centred over members.

    Perturbations are scaled up after that, so that each of them has the covariance of the error.
    """

    kind: Literal["enkf"] = "enkf"
    members: int = Field(40, ge=2)
    """Size of the ensemble."""
    localization: AnyLocalization = Field(default="none", validate_default=True)
    """Taper on the sampled covariances, multiplied element by element."""

    runs_side_by_side = True
    reference = (
        "Evensen 1994; Burgers, van Leeuwen and Evensen 1998; localised as in Houtekamer and Mitchell 2001"
    )

    def innovations(
        self, observed: Observed, generator: torch.Generator
    ) -> Float[Tensor, "batch member obs"]:
        """Return whitened (y + D - Y) with D ~ N(0, R), its sum over members 0."""
        D = centred_errors(*observed.predicted.shape, generator=generator)
        present, scale = (observed.scale > 0)[:, None], observed.scale[:, None]
        perturbed: Tensor = (observed.value[:, None] - observed.predicted) * scale + D * present
        return perturbed
