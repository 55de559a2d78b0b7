import math

import pytest
import torch

from koopcast.errors import ShapeMismatch
from koopcast.layers.sensors import Coordinates, Queries, Sensors, sensor_places


def test_sensors_of_a_closed_axis_include_both_ends_and_of_a_periodic_one_its_start():
    assert sensor_places(9, 3, False).tolist() == [0, 4, 8]
    assert sensor_places(8, 4, True).tolist() == [0, 2, 4, 6]
    assert sensor_places(5, 1, False).tolist() == [0]
    assert sensor_places(7, 7, False).tolist() == list(range(7))
    # 99 / 4 = 24.75: the nearest points.
    assert sensor_places(100, 5, False).tolist() == [0, 25, 50, 74, 99]


@pytest.mark.parametrize("is_periodic", [True, False])
def test_sensors_are_nearest_points_and_all_different(is_periodic):
    for size in range(2, 40):
        for count in range(1, size + 1):
            places = sensor_places(size, count, is_periodic)
            assert len(places.unique()) == count
            step = size / count if is_periodic else (size - 1) / max(1, count - 1)
            assert (places - step * torch.arange(count)).abs().max() <= 0.5 + 1e-4


def test_a_field_is_seen_at_the_product_of_the_places_of_its_axes():
    sensors = Sensors((5, 8), (False, True), (3, 2))
    x = torch.arange(80.0).reshape(1, 5, 8, 2)
    assert torch.equal(sensors(x), x[:, ::2, ::4])
    everywhere = Sensors((5, 8), (False, True), (5, 8))
    assert torch.equal(everywhere(x), x)


def test_a_field_on_another_grid_is_refused_with_both_sizes():
    with pytest.raises(ShapeMismatch, match="5 x 8 points, the field on one of 9 x 8 points"):
        Sensors((5, 8), (False, True), (3, 2))(torch.zeros(1, 9, 8, 1))


def test_fourier_features_close_where_the_axis_does():
    closing = Coordinates((True,), "fourier", 3)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    features = closing(ends)
    assert features.shape == (2, closing.size) == (2, 6)
    assert torch.allclose(features[0], features[1], atol=1e-12)
    both = Coordinates((True, False), "fourier", 3)
    y = torch.rand(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert both(y).shape == (10, both.size) == (10, 13)
    assert torch.allclose(both(y)[:, 0], 2 * y[:, 1] - 1)
    assert torch.allclose(both(y)[:, 1], torch.cos(2 * math.pi * y[:, 0]))


def test_times_are_the_first_coordinate_and_run_to_one():
    queries = Queries((False,), 4, "none")
    like = torch.zeros(1)
    features = queries(queries.points((3,), like), queries.times(like))
    assert features.shape == (4, 3, queries.size) == (4, 3, 2)
    assert torch.equal(features[:, 0, 0], torch.tensor([-0.5, 0.0, 0.5, 1.0]))
    assert torch.equal(features[0, :, 1], torch.tensor([-1.0, 0.0, 1.0]))
    assert Queries((False,), 1, "none").size == 1
