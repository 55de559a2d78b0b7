"""Times and leads as axes that a person reads."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from koopcast.grids import TimeAxis

UNITS = {"Y": "years", "M": "months", "W": "weeks", "D": "days"}
CLOCK_UNITS = {"H": "hours", "M": "minutes", "S": "seconds"}


@dataclass(frozen=True)
class Clock:
    """What one record step is called: `factor` `units`."""

    factor: float | int = 1.0
    units: str = "records"

    @classmethod
    def of(cls, time: TimeAxis | None) -> "Clock":
        """Return the clock of a time axis; records where its spacing is unequal or unknown."""
        if time is None:
            return cls()
        if isinstance(time.step, str):
            match = re.fullmatch(r"P(T?)(\d+)([YMWDHS])", time.step)
            if match is None:
                return cls()
            table = CLOCK_UNITS if match[1] else UNITS
            return cls(float(match[2]), table.get(match[3], "records"))
        return cls(float(time.step), "model time units" if time.units in ("1", "") else time.units)

    def axis_label(self, what: str) -> str:
        """Return the label of an axis: `lead (months)`."""
        return f"{what} ({self.units})"

    def text(self, steps: float | int) -> str:
        """Return a number of steps in words: `3 months`."""
        value = self.factor * steps
        units = self.units[:-1] if value == 1 and self.units.endswith("s") else self.units
        return f"{value:.3g} {units}"


def numbers(times: xr.DataArray) -> tuple[Float[np.ndarray, " time"], str]:
    """Return times as numbers for an axis, and its label: years of a calendar, or model time."""
    values = times.values
    if np.issubdtype(values.dtype, np.number):
        return values.astype(np.float64), "model time"
    year, day = times.dt.year.values, times.dt.dayofyear.values
    clock = times.dt.hour.values / 24
    days = 360 if getattr(values.flat[0], "calendar", "") == "360_day" else 365.25
    return year + (day - 1 + clock) / days, "year"


def moment(time: xr.DataArray) -> str:
    """Return one time in words."""
    value: Any = time.values[()]
    if np.issubdtype(np.asarray(value).dtype, np.number):
        return f"t = {float(value):.6g}"
    text = np.datetime_as_string(value, unit="m") if isinstance(value, np.datetime64) else value.isoformat()
    return str(text).replace("T00:00:00", "").replace("T00:00", "").replace("T", " ")
