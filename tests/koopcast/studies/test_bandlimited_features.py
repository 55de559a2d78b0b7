import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.studies.bandlimited_features import BandlimitedFeaturesSpec, floor, name_of

SMALL = BandlimitedFeaturesSpec(
    frequencies=(1, 4), bumps=False, bandwidths=(0.5, 8, 512), sizes=(30, 60), points=120, repetitions=2
)


def test_the_table_is_complete_and_the_same_for_equal_seeds() -> None:
    one, other = SMALL.run(0), SMALL.run(0)
    assert one.tables["fits"].equals(other.tables["fits"])
    assert set(one.scores) == set(SMALL.metrics())
    for metric in ("error", "bandwidth", "rank"):
        assert {subject: sorted(map(int, sizes)) for subject, sizes in one.scores[metric].items()} == {
            subject: list(sizes) for subject, sizes in SMALL.subjects().items()
        }
    assert set(one.scores["floor"]["sine_4.b8"]) == {"60"}


def test_narrow_neurons_leave_a_floor_and_wide_ones_are_a_mess() -> None:
    scores = SMALL.run(0).scores
    error, floors = scores["error"], scores["floor"]
    assert floors["sine_4.b0_5"]["60"] == error["sine_4.b0_5"]["60"] > 0.9
    assert floors["sine_4.b8"]["60"] == 0
    assert error["sine_4.best"]["60"] == error["sine_4.b8"]["60"] < 1e-2 * error["sine_4.b512"]["60"]
    assert scores["bandwidth"]["sine_4.best"]["60"] == 8
    assert error["sine_4.auto"]["60"] <= 10 * error["sine_4.best"]["60"]
    assert scores["rank"]["sine_1.b0_5"]["60"] < 20 < scores["rank"]["sine_1.b512"]["60"]


def test_targets_have_their_textbook_values() -> None:
    study = BandlimitedFeaturesSpec(frequencies=(5,))
    values = study.values(torch.tensor([0.0, 0.05, 0.3], dtype=torch.float64))
    assert study.targets() == ["sine_5", "bumps"]
    assert values[:, 0].tolist() == pytest.approx([0, math.sin(0.5 * math.pi), 0], abs=1e-12)
    assert values[:, 1].tolist() == pytest.approx([1, math.exp(-6.25), 0.5], abs=1e-12)


def test_a_floor_is_an_error_that_twice_the_neurons_leave() -> None:
    assert floor(None, 0.5) is None
    assert floor(0.5, 0.49) == 0.49
    assert floor(0.5, 0.4) == 0
    assert floor(1e-12, 1e-12) == 0


def test_bandwidths_are_written_as_names() -> None:
    assert [name_of(value) for value in (0.5, 1.0, 500.0, 0.125)] == ["b0_5", "b1", "b500", "b0_125"]
    with pytest.raises(ValidationError, match="are both 'b1'"):
        BandlimitedFeaturesSpec(bandwidths=(1.0, 1.00000001))
    with pytest.raises(ValidationError, match="greater than 0"):
        BandlimitedFeaturesSpec(bandwidths=(0.0,))
    with pytest.raises(ValidationError, match="each one once"):
        BandlimitedFeaturesSpec(frequencies=(3, 3))
    with pytest.raises(ValidationError, match="20 of 10 points"):
        BandlimitedFeaturesSpec(points=10, folds=20)
