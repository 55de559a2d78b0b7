import math

import pytest
import torch

from koopcast.grids import Axis
from koopcast.numerics.geometry import Domain, distances, implied_coordinates


def domain(*axes):
    return Domain(axes, tuple(implied_coordinates(axis) for axis in axes))


def test_distances_on_a_ring_go_the_shorter_way_round():
    ring = domain(Axis("state", 40, "index", periodic=True))
    points = torch.arange(40)
    assert distances(ring, torch.tensor([1]), points)[0, [0, 1, 39, 21, 20]].tolist() == [1, 0, 2, 20, 19]


def test_distances_are_in_the_units_of_each_axis():
    # A plane of 4 x 3 points, length 8 periodic (spacing 2) and length 1 not periodic (spacing 0.5).
    plane = domain(Axis("y", 4, periodic=True, length=8.0), Axis("x", 3, length=1.0))
    gap = distances(plane, torch.tensor([0]), torch.tensor([3 * 3 + 2, 2 * 3]))
    assert gap[0].tolist() == pytest.approx([math.sqrt(4 + 1), 4.0])


def test_distances_on_the_sphere_are_arcs_in_degrees():
    axes = (Axis("latitude", 3, "latitude"), Axis("longitude", 4, "longitude", periodic=True))
    globe = Domain(
        axes, (torch.tensor([0.0, 60.0, 90.0]).double(), torch.tensor([0.0, 90, 180, 350]).double())
    )
    gaps = distances(globe, torch.tensor([0, 4]), torch.tensor([1, 3, 8, 11, 6]))
    # From (0, 0): a quarter, 10 degrees the short way, a quarter to the pole twice; 120 over the pole to (60,
    # 180).
    assert gaps[0].tolist() == pytest.approx([90, 10, 90, 90, 120])
    # From (60, 0) to (0, 90): cos = cos 60 · cos 0 · cos 90 = 0; to the pole 30; to (60, 180) 60.
    assert gaps[1, [0, 2, 4]].tolist() == pytest.approx([90, 30, 60])
