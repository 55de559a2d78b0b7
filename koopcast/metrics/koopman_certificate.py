"""How many eigenpairs of a linear model are certified."""

from typing import Literal

import numpy as np
import xarray as xr
from pydantic import Field

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.spectra import of_model


class KoopmanCertificateSpec(MetricSpec):
    """Number of eigenpairs whose bound is within a tolerance.

    The bound of a pair is the larger of its residuals ‖φ(x') - λ φ(x)‖ / ‖φ(x)‖ over the training and over
    the scored pairs, widened by the `modulus` of continuity of the model: its constant times the fill
    distance of the samples. Data alone certify nothing between the samples: without a modulus the coordinate
    `certificate` of the curve says so. Components: `least`, the smallest bound; `optimism`, the largest
    excess of a residual on the scored pairs over that in training; `widening`. Of models with eigenfunctions
    and residuals; the same at every lead.
    """

    kind: Literal["koopman_certificate"] = "koopman_certificate"
    tolerance: float = Field(0.05, gt=0, lt=1)
    """Largest bound of a certified pair."""

    needs_spectrum = True
    needs_eigenfunctions = True
    sense = "higher"
    reference = (
        "Colbrook, Mezić & Stepanenko 2024, Limits and powers of Koopman learning; residuals over data that "
        "the model did not see are ours"
    )

    def score(self, pair: Verification) -> Score:
        """Return the number; its curve holds the bound of every pair."""
        assert pair.spectrum is not None
        trained, seen = (pair.spectrum[name].values for name in ("residual", "data_residual"))
        widening = float(pair.spectrum.attrs["widening"])
        # A pair that the scored data say nothing of is not certified by them.
        bound = np.where(np.isnan(seen), np.inf, np.maximum(trained, seen)) + widening
        excess = np.nanmax(seen - trained, initial=0.0)
        parts = {"least": float(bound.min()), "optimism": float(excess), "widening": widening}
        number = of_model(pair, float((bound <= self.tolerance).sum()), "1")
        curve = xr.DataArray(bound, dims="mode", attrs={"units": "1", "long_name": "bound of the residual"})
        return Score(
            number.value,
            number.pooled,
            "1",
            curve.expand_dims(lead=pair.truth["lead"].values).assign_coords(
                certificate=pair.spectrum.attrs["certificate"]
            ),
            {name: of_model(pair, value, "1").value for name, value in parts.items()},
        )
