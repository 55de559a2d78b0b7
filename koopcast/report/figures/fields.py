"""What maps and space-time diagrams share: colour ranges, panels, sites."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from koopcast.report.style import FIELD_MAP, SIGNED_MAP, SPREAD_MAP

SIGN_BALANCE = 0.25
"""A field is drawn signed where its smaller side reaches this share of its larger one."""


@dataclass(frozen=True)
class Scale:
    """Range and colours of a group of panels."""

    low: float
    high: float
    colours: str


@dataclass(frozen=True)
class Panel:
    """One field to draw: its values, and which of the scales it uses."""

    title: str
    values: xr.DataArray
    scale: Scale
    group: str
    shows_sites: bool = False


def field_scale(fields: Sequence[xr.DataArray]) -> Scale:
    """Return the common scale of fields, without the outer half per cent; signed fields are centred on 0."""
    low, high = _quantiles(fields)
    if low < 0 < high and min(-low, high) >= SIGN_BALANCE * max(-low, high):
        bound = max(-low, high)
        return Scale(-bound, bound, SIGNED_MAP)
    return Scale(low, high, FIELD_MAP)


def error_scale(errors: Sequence[xr.DataArray]) -> Scale:
    """Return the common scale of errors, centred on 0."""
    low, high = _quantiles(errors)
    bound = max(-low, high)
    return Scale(-bound, bound, SIGNED_MAP)


def spread_scale(spread: xr.DataArray) -> Scale:
    """Return the scale of a spread, from 0."""
    return Scale(0.0, _quantiles([spread])[1], SPREAD_MAP)


def panels(example: xr.DataArray, *, is_forecast: bool, lead_text: dict[int, str]) -> list[Panel]:
    """Return the panels of an example with dims `(source, lead, ...)`: fields first, then errors, then the
    increment (analysis less background) and the spread of an analysis.

    Of many leads the first, the middle and the last are shown.
    """
    sources = [str(source) for source in example["source"].values]
    every = [int(lead) for lead in example["lead"].values]
    leads = sorted({every[0], every[len(every) // 2], every[-1]})
    truth = example.sel(source="truth", lead=leads[0])
    shown = [source for source in ("forecast", "prediction", "background", "analysis") if source in sources]
    fields, errors = [("truth", truth)], []
    for source in shown:
        for lead in leads:
            values = example.sel(source=source, lead=lead)
            name = f"{source}, {lead_text[lead]}" if is_forecast else source
            fields.append((name, values))
            errors.append((f"error of {name}", values - example.sel(source="truth", lead=lead)))
    scale, errs = field_scale([values for _, values in fields]), error_scale([values for _, values in errors])
    result = [
        Panel(name, values, scale, "field", not is_forecast and name != "background")
        for name, values in fields
    ]
    result += [Panel(name, values, errs, "error", "analysis" in name) for name, values in errors]
    if {"background", "analysis"} <= set(sources):
        change = example.sel(source="analysis", lead=leads[0]) - example.sel(
            source="background", lead=leads[0]
        )
        result.append(Panel("increment of the analysis", change, error_scale([change]), "increment", True))
    if "spread" in sources:
        spread = example.sel(source="spread", lead=leads[0])
        result.append(Panel("spread of the analysis", spread, spread_scale(spread), "spread", True))
    return result


def _quantiles(fields: Sequence[xr.DataArray]) -> tuple[float, float]:
    values = np.concatenate([np.asarray(field.values, dtype=np.float64).ravel() for field in fields])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return -1.0, 1.0
    low, high = np.quantile(values, [0.005, 0.995])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def is_observed(example: xr.Dataset, variable: str) -> np.ndarray:
    """Return which sites of an example, dims `(time, obs)` or `(obs)`, are observations of the variable."""
    channel = example["site_channel"]
    return np.asarray(channel.values == channel.attrs["flag_meanings"].split().index(variable))
