"""Numbers of the card of a model or an analysis as scores: the same at every lead."""

import xarray as xr

from koopcast.metrics.base import Score, Verification


def entry(pair: Verification, name: str) -> Score:
    """Return an entry of the card as a score without units; entries `<name>.<part>` are its components."""
    parts = {key.removeprefix(f"{name}."): key for key in pair.card if key.startswith(f"{name}.")}
    components = {part: _constant(pair, pair.card[key]) for part, key in parts.items()}
    return Score(_constant(pair, pair.card[name]), pair.card[name], "1", components=components)


def _constant(pair: Verification, value: float) -> xr.DataArray:
    leads = pair.truth["lead"]
    return xr.DataArray([value] * leads.size, dims="lead", coords={"lead": leads})
