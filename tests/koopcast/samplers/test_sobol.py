import numpy as np
import pytest
from scipy.stats import qmc

from koopcast.errors import InvalidInput
from koopcast.samplers.iid import IIDSpec
from koopcast.samplers.sobol import SobolSpec


@pytest.mark.parametrize("count", [64, 100])
def test_the_discrepancy_is_far_below_that_of_independent_points(count: int) -> None:
    generator = np.random.default_rng(0)
    sobol, iid = (
        np.mean([qmc.discrepancy(spec.points(count, 3, generator).points) for _ in range(10)])
        for spec in (SobolSpec(), IIDSpec())
    )
    assert sobol < 0.2 * iid


def test_a_power_of_two_fills_every_elementary_interval() -> None:
    # A scrambled (0, m, 2) net of 64 points: each of the 8 x 8, 16 x 4, 4 x 16, ... cells holds one.
    points = SobolSpec().points(64, 2, np.random.default_rng(1)).points
    for k in range(7):
        cells = np.floor(points * [2**k, 2 ** (6 - k)]) @ [2 ** (6 - k), 1]
        assert len(np.unique(cells)) == 64


def test_the_figures_say_whether_the_net_is_whole() -> None:
    generator = np.random.default_rng(2)
    found = {n: SobolSpec().points(n, 2, generator).figures["is_power_of_two"] for n in (1, 63, 64, 65)}
    assert found == {1: 1.0, 63: 0.0, 64: 1.0, 65: 0.0}


def test_more_dimensions_than_directions_are_refused() -> None:
    with pytest.raises(InvalidInput, match="21201"):
        SobolSpec().points(4, 30_000, np.random.default_rng(0))
