import numpy as np
import pytest

from koopcast.samplers.latin_hypercube import LatinHypercubeSpec


@pytest.mark.parametrize("count", [1, 7, 100])
def test_each_layer_of_every_coordinate_holds_one_point(count: int) -> None:
    points = LatinHypercubeSpec().points(count, 5, np.random.default_rng(0)).points
    layers = np.sort(np.floor(points * count), axis=0)
    assert (layers == np.arange(count)[:, None]).all()


def test_coordinates_are_shuffled_independently() -> None:
    points = LatinHypercubeSpec().points(2000, 4, np.random.default_rng(1)).points
    correlation = np.corrcoef(points.T) - np.eye(4)
    # Independent permutations have correlations of standard deviation 1 / √(n - 1) = 0.022.
    assert np.abs(correlation).max() < 0.1


def test_a_sum_over_coordinates_has_far_less_variance_than_independent_points_give() -> None:
    generator = np.random.default_rng(2)
    means = [LatinHypercubeSpec().points(32, 3, generator).points.sum(axis=1).mean() for _ in range(200)]
    # Independent: 3 / 12 / 32. Layers leave the variance inside one layer, 1 / n² of it.
    assert np.var(means) < 3 / 12 / 32 / 100
