"""Size of the model behind a forecast."""

from typing import Literal

import xarray as xr

from koopcast.metrics.base import MetricSpec, Score, Verification


class ParametersSpec(MetricSpec):
    """Real parameters of a trained network; a complex one counts as two."""

    kind: Literal["parameters"] = "parameters"

    needs_parameters = True
    reference = "standard"

    def score(self, pair: Verification) -> Score:
        """Return the number."""
        count = float(pair.parameters or 0)
        leads = pair.truth["lead"]
        return Score(xr.DataArray([count] * leads.size, dims="lead", coords={"lead": leads}), count, "1")
