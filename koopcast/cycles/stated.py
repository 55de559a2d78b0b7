"""Coordinates and heights in the units that files state."""

from collections.abc import Mapping

import pandas as pd

from koopcast.errors import DataError, UnknownUnit
from koopcast.units import conversion


def turned(numbers: pd.Series, said: str, target: str, name: str) -> pd.Series:
    """Return numbers in the units `target`; as they are where nothing is said.

    Raises:
        DataError: What is said is unknown, or of another quantity.
    """
    if said.strip() in ("", target):
        return numbers
    try:
        change = conversion(said, target, name)
    except UnknownUnit as error:
        raise DataError(
            f"'{name}' is in '{said[:60]}', which is unknown or cannot be turned into '{target}'",
            "convert it, or repair its units",
        ) from error
    return numbers if change.is_identity else numbers * change.scale + change.offset


def in_metres(heights: pd.Series, units: pd.Series) -> pd.Series:
    """Return heights in m, each in units of its own; NaN where these are unknown."""
    factors: Mapping[str, float] = {text: _factor(text) for text in units.unique()}
    return heights * units.map(factors).astype("float64")


def _factor(units: str) -> float:
    try:
        return conversion(units, "m", "height").scale if units else 1.0
    except UnknownUnit:
        return float("nan")
