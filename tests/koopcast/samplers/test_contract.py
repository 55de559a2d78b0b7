"""What every sampler promises."""

import numpy as np
import pytest

from koopcast.errors import InvalidInput
from koopcast.samplers import AnySampler, SamplerSpec
from koopcast.spec import kind_of, members

SAMPLERS = [spec() for spec in members(AnySampler)]
ROWS = [sampler for sampler in SAMPLERS if sampler.chooses_rows]
POINTS = [sampler for sampler in SAMPLERS if sampler.lays_points]
FEATURES = np.random.default_rng(0).standard_normal((60, 4))


def name(sampler: SamplerSpec) -> str:
    return kind_of(type(sampler))


@pytest.mark.parametrize("sampler", ROWS, ids=name)
def test_rows_are_the_same_for_the_same_generator(sampler: SamplerSpec) -> None:
    one, other = (sampler.rows(FEATURES, 4, np.random.default_rng(7)) for _ in range(2))
    assert one.index.tolist() == other.index.tolist()
    assert one.weight.tolist() == other.weight.tolist()
    assert one.figures == other.figures


@pytest.mark.parametrize("sampler", ROWS, ids=name)
def test_weights_sum_to_the_count_in_mean(sampler: SamplerSpec) -> None:
    draw, generator = sampler.drawing(FEATURES), np.random.default_rng(8)
    drawn = [draw(4, generator) for _ in range(200)]
    assert np.mean([rows.weight.sum() for rows in drawn]) == pytest.approx(4, rel=0.1)
    assert np.mean([len(rows.index) for rows in drawn]) == pytest.approx(4, rel=0.1)
    assert all((rows.weight > 0).all() for rows in drawn)


@pytest.mark.parametrize("sampler", POINTS, ids=name)
@pytest.mark.parametrize("dimension", [1, 2])
def test_points_lie_inside_the_cube_and_are_the_same_for_the_same_generator(
    sampler: SamplerSpec, dimension: int
) -> None:
    one, other = (sampler.points(20, dimension, np.random.default_rng(9)) for _ in range(2))
    assert one.points.shape == (20, dimension)
    assert one.weight.shape == (20,)
    assert ((one.points > 0) & (one.points < 1)).all()
    assert (one.points == other.points).all()
    assert (one.weight == other.weight).all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_a_sampler_offers_what_it_says(sampler: SamplerSpec) -> None:
    assert sampler.chooses_rows or sampler.lays_points
    if not sampler.chooses_rows:
        with pytest.raises(InvalidInput, match="chooses no rows"):
            sampler.rows(FEATURES, 4, np.random.default_rng(0))
    if not sampler.lays_points:
        with pytest.raises(InvalidInput, match="lays out no points"):
            sampler.points(4, 2, np.random.default_rng(0))
