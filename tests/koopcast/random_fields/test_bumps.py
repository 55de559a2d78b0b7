import numpy as np
import pytest
import torch

from koopcast.grids import Axis
from koopcast.random_fields.bumps import BumpsSpec


def draw(points, count=1, **options):
    axes = (Axis("y", points, length=2.0), Axis("x", points, length=1.0))
    return BumpsSpec(**options).draw(axes, count, torch.Generator().manual_seed(0)).numpy()


def test_one_bump_is_a_round_gaussian_with_its_centre_in_the_domain_and_at_most_the_stated_width():
    # The logarithm of exp(-|x - c|²/(2w²)) is a parabola: its second difference gives w, its first one c.
    y, x = np.linspace(0, 2, 33), np.linspace(0, 1, 33)
    bumps = draw(33, count=100, number=1, width=0.4)
    wide = bumps[bumps.min(axis=(1, 2)) > 1e-200]
    assert len(wide) > 50
    for bump in np.log(wide):
        along_y, along_x = np.polyfit(y, bump[:, 5], 2), np.polyfit(x, bump[7], 2)
        assert along_y[0] / along_x[0] == pytest.approx(1, rel=1e-6)
        assert -0.5 / along_x[0] < 0.4**2 * (1 + 1e-6)
        assert 0 <= -along_y[1] / along_y[0] / 2 <= 2
        assert 0 <= -along_x[1] / along_x[0] / 2 <= 1


def test_bumps_are_the_same_function_on_a_finer_grid():
    assert np.allclose(draw(17, count=3), draw(33, count=3)[:, ::2, ::2], rtol=1e-12)


def test_the_height_of_a_sum_is_at_most_its_number_of_bumps():
    fields = draw(65, count=200, number=5)
    assert fields.max() <= 5
    assert fields.max() > 3
    assert fields.min() >= 0
