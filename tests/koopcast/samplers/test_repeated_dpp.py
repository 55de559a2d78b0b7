import numpy as np
import pytest

from koopcast.errors import InvalidInput
from koopcast.samplers.christoffel import ChristoffelSpec
from koopcast.samplers.repeated_dpp import RepeatedDPPSpec

PHI = np.vander(np.linspace(-1, 1, 50), 5)


def test_each_part_is_a_draw_of_distinct_rows() -> None:
    index = RepeatedDPPSpec().rows(PHI, 20, np.random.default_rng(0)).index
    assert all(len(set(part.tolist())) == 5 for part in index.reshape(4, 5))


def test_fits_are_more_stable_than_from_independent_draws_of_the_same_density() -> None:
    generator = np.random.default_rng(1)
    repeated, independent = (
        np.mean([draw(20, generator).figures["gram_min_eig"] for _ in range(50)])
        for draw in (RepeatedDPPSpec().drawing(PHI), ChristoffelSpec().drawing(PHI))
    )
    assert repeated > 1.3 * independent


def test_a_count_between_multiples_is_refused_with_both_neighbours() -> None:
    with pytest.raises(InvalidInput, match=r"22 is no multiple of the 5 features .* take 20 or 25"):
        RepeatedDPPSpec().rows(PHI, 22, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match=r"3 is no multiple .* take 5 or 10"):
        RepeatedDPPSpec().rows(PHI, 3, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="take 20 or 30"):
        RepeatedDPPSpec(degree=3).points(25, 2, np.random.default_rng(0))
