"""Modes of a linear model, for metrics of its spectrum."""

import numpy as np
import xarray as xr

from koopcast.metrics.base import Score, Verification


def periods(spectrum: xr.Dataset) -> np.ndarray:
    """Return the period of each mode in record steps; infinity where it does not oscillate."""
    angle = np.abs(np.angle(spectrum["eigenvalue_real"].values + 1j * spectrum["eigenvalue_imag"].values))
    with np.errstate(divide="ignore"):
        return np.asarray(2 * np.pi / angle)


def nearest_mode(spectrum: xr.Dataset, period: float) -> int:
    """Return the place of the mode whose frequency is nearest to that of a period."""
    return int(np.abs(1 / periods(spectrum) - 1 / period).argmin())


def of_model(pair: Verification, value: float, units: str) -> Score:
    """Return a score that is the same at every lead."""
    leads = pair.truth["lead"]
    return Score(xr.DataArray([value] * leads.size, dims="lead", coords={"lead": leads}), value, units)
