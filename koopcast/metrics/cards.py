"""Numbers of a model's card as scores: the same at every lead."""

import xarray as xr

from koopcast.metrics.base import Score, Verification


def entry(pair: Verification, name: str) -> Score:
    """Return an entry of the card as a score without units."""
    value, leads = pair.card[name], pair.truth["lead"]
    array = xr.DataArray([value] * leads.size, dims="lead", coords={"lead": leads})
    return Score(array, value, "1")
