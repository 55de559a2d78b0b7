"""Residual norms against errors: what spreads, what does not, and that truth has no residual."""

import pytest
from pydantic import ValidationError

from koopcast.studies.residual_estimator import ResidualEstimatorSpec
from koopcast.systems import NavierStokesSpec

SMALL = ResidualEstimatorSpec(
    system=NavierStokesSpec(points=16), cases=2, frames=4, spin_up=0.1, bands=(1, 3, 5)
)


def test_a_seed_fixes_the_findings() -> None:
    first = SMALL.run(1).scores
    assert first == SMALL.run(1).scores
    assert first != SMALL.run(2).scores


def test_the_spread_is_the_largest_ratio_over_the_smallest() -> None:
    findings = SMALL.run(0)
    ratios = findings.tables["ratios"].set_index(["norm", "band"])["ratio"]
    for norm in SMALL.subjects():
        assert findings.scores["spread"][norm]["all"] == pytest.approx(
            ratios[norm].max() / ratios[norm].min()
        )


def test_ratios_do_not_depend_on_the_size_of_small_errors() -> None:
    large, small = (SMALL.model_copy(update={"error": size}).run(0).scores for size in (2e-3, 1e-3))
    assert large["ratio"]["dual"]["all"] == pytest.approx(small["ratio"]["dual"]["all"], rel=0.02)


def test_for_errors_white_in_time_the_norm_of_order_0_is_the_flat_one() -> None:
    # A field of its own in each frame has a slope √2 / dt whatever its wavenumber, and little else matters.
    scores = SMALL.model_copy(update={"in_time": "white"}).run(0).scores
    assert scores["spread"]["l2"]["all"] < 1.2
    assert scores["spread"]["dual"]["all"] > 3
    assert scores["ratio"]["l2"]["all"] == pytest.approx(2**0.5 / 0.1, rel=0.1)


def test_bands_that_the_grid_does_not_keep_are_refused() -> None:
    with pytest.raises(ValidationError, match="above 5, what 16 points keep"):
        ResidualEstimatorSpec(system=NavierStokesSpec(points=16), bands=(1, 6))
