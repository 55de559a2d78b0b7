import numpy as np
import pytest

from koopcast.errors import UnknownUnit
from koopcast.units import ALIASES, canonical, conversion


def test_offsets_are_kept_to_rounding() -> None:
    change = conversion("K", "degC", "sst")
    assert (change.scale, change.offset) == (1.0, -273.15)
    back = conversion("degF", "K", "sst")
    assert back.scale == pytest.approx(5 / 9, rel=1e-14)
    assert np.isclose(212 * back.scale + back.offset, 373.15, atol=1e-10)


def test_spellings_of_real_files_mean_what_their_authors_meant() -> None:
    # UDUNITS alone refuses "M/S", and reads "mb" as millibarn and "C" as coulomb.
    assert conversion("M/S", "knot", "UWND").scale == pytest.approx(3600 / 1852)
    assert conversion("MB", "Pa", "SLP").scale == pytest.approx(100)
    assert conversion("C", "K", "t").offset == pytest.approx(273.15)
    assert conversion("celsius (SST)", "K", "t").offset == pytest.approx(273.15)
    assert conversion("deg C", "K", "t").offset == pytest.approx(273.15)
    assert conversion("W/m2", "W m-2", "q").is_identity
    # Which UDUNITS takes for the product of an angle and a temperature.
    for text, offset in (("degree Celsius", 273.15), ("Degrees Kelvin", 0), ("deg F", 255.372222)):
        assert conversion(text, "K", "t").offset == pytest.approx(offset)
    assert canonical("  ", "x") == "1"


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_every_alias_leads_to_a_unit_that_udunits_reads(alias: str) -> None:
    assert conversion(alias, ALIASES[alias], "x").is_identity


def test_an_unknown_unit_is_refused_by_the_name_of_the_variable_with_a_suggestion() -> None:
    with pytest.raises(UnknownUnit, match=r"'wind' has the unknown unit 'm/ss'; did you mean 'm/s'\?"):
        canonical("m/ss", "wind")


def test_units_of_another_quantity_are_refused() -> None:
    with pytest.raises(UnknownUnit, match="'K' cannot be converted to 'm'"):
        conversion("K", "m", "sst")
    # To UDUNITS an angle is a number: 1 would be 57 degrees.
    for pair in (("1", "degree"), ("radian", "%")):
        with pytest.raises(UnknownUnit, match="cannot be converted"):
            conversion(*pair, "latitude")
    assert conversion("rad s-1", "s-1", "vorticity").is_identity
    with pytest.raises(UnknownUnit, match="not proportional"):
        conversion("dBZ", "m3", "reflectivity")
    with pytest.raises(UnknownUnit):
        canonical("hours since 1970-01-01", "age")
