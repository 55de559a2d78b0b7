"""Units of variables: UDUNITS, after a fixed table of the spellings that files really carry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from cf_units import Unit

from koopcast.errors import UnknownUnit

ALIASES: Mapping[str, str] = {
    "c": "degC",
    "decimal degrees": "degree",
    "decimal_degrees": "degree",
    "deg": "degree",
    "deg east": "degree",
    "deg north": "degree",
    "deg_e": "degree",
    "deg_n": "degree",
    "dege": "degree",
    "degn": "degree",
    "°e": "degree",
    "°n": "degree",
    "deg c": "degC",
    "deg celsius": "degC",
    "deg f": "degF",
    "deg fahrenheit": "degF",
    "deg k": "K",
    "deg kelvin": "K",
    "deg. c": "degC",
    "degc": "degC",
    "degree c": "degC",
    "degree celsius": "degC",
    "degree east": "degree",
    "degree f": "degF",
    "degree fahrenheit": "degF",
    "degree k": "K",
    "degree kelvin": "K",
    "degree north": "degree",
    "degrees c": "degC",
    "degrees celsius": "degC",
    "degrees centigrade": "degC",
    "degrees east": "degree",
    "degrees f": "degF",
    "degrees fahrenheit": "degF",
    "degrees k": "K",
    "degrees kelvin": "K",
    "degrees north": "degree",
    "dimensionless": "1",
    "fraction": "1",
    "gpm": "m",
    "hpa": "hPa",
    "k": "K",
    "kelvins": "K",
    "m a.s.l.": "m",
    "m above mean sea level": "m",
    "m above sea level": "m",
    "m amsl": "m",
    "m asl": "m",
    "m/s": "m s-1",
    "masl": "m",
    "mb": "hPa",
    "mbar": "hPa",
    "meter/sec": "m s-1",
    "meters above mean sea level": "m",
    "meters above sea level": "m",
    "meters/second": "m s-1",
    "metres above mean sea level": "m",
    "metres above sea level": "m",
    "mm/day": "mm day-1",
    "none": "1",
    "pa": "Pa",
    "percent": "%",
    "ppt": "1e-3",
    "pss-78": "1e-3",
    "psu": "1e-3",
    "unitless": "1",
    "w/m2": "W m-2",
    "w/m^2": "W m-2",
}
"""Lower-case spelling -> UDUNITS. It goes before UDUNITS, which reads `mb` as millibarn, `C` as
coulomb, and `degree Celsius` as a product."""
COMMON = ("K", "degC", "degF", "Pa", "hPa", "m", "mm", "m s-1", "kg m-2 s-1", "W m-2", "%", "knot", "1")


@dataclass(frozen=True)
class Conversion:
    """new = scale · old + offset."""

    scale: float
    offset: float

    @property
    def is_identity(self) -> bool:
        """Whether numbers stay as they are."""
        return self.scale == 1 and self.offset == 0


def canonical(units: str, variable: str) -> str:
    """Return a spelling of `units` that UDUNITS reads as it is meant; empty units are `1`.

    Raises:
        UnknownUnit: Neither the table nor UDUNITS knows it.
    """
    text = units.strip()
    if not text:
        return "1"
    for candidate in (text, text.split("(")[0].strip()):
        if candidate.lower() in ALIASES:
            return ALIASES[candidate.lower()]
        if candidate and _is_readable(candidate):
            return candidate
    near = get_close_matches(text, (*COMMON, *ALIASES), n=1, cutoff=0.5) or get_close_matches(
        text.lower(), tuple(ALIASES), n=1, cutoff=0.5
    )
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UnknownUnit(
        f"variable '{variable}' has the unknown unit '{text[:60]}'",
        f"{hint}state the right one in the source: `units: {{{variable}: ...}}`",
    )


def conversion(source: str, target: str, variable: str) -> Conversion:
    """Return what turns numbers in `source` units into `target` units.

    Raises:
        UnknownUnit: A unit is unknown, the two measure different things, or their scales are not
            proportional.
    """
    old, new = (Unit(canonical(units, variable)) for units in (source, target))
    if not old.is_convertible(new) or _is_angle(old) != _is_angle(new):
        raise UnknownUnit(
            f"variable '{variable}' in '{source}' cannot be converted to '{target}'",
            "ask for a unit of the same quantity",
        )
    # A far point gives the slope without the rounding of a large offset.
    zero, one, far = (float(old.convert(value, new)) for value in (0.0, 1.0, 2.0**60))
    scale = (far - zero) / 2.0**60
    if not math.isfinite(scale) or abs(one - zero - scale) > 1e-9 * max(abs(one), abs(zero), abs(scale)):
        raise UnknownUnit(
            f"variable '{variable}': '{source}' and '{target}' are not proportional",
            "convert the file beforehand",
        )
    return Conversion(round(scale, 15) if 0.1 < abs(scale) < 10 else scale, zero)


def _is_angle(unit: Unit) -> bool:
    """Return whether a unit without a dimension is one of angles, which UDUNITS takes for numbers."""
    return unit.is_dimensionless() and "rad" in unit.definition


def _is_readable(text: str) -> bool:
    try:
        unit = Unit(text)
    except ValueError:
        return False
    return not (unit.is_unknown() or unit.is_no_unit() or unit.is_time_reference())
