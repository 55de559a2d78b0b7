"""Distances to the nearest sample where the farthest point is known."""

import numpy as np
import pytest

from koopcast.numerics.fill_distance import fill_distance


@pytest.mark.parametrize("dims", [2, 3])
def test_of_a_lattice_the_centre_of_a_cell_is_farthest(dims: int) -> None:
    axes = [np.arange(5) / 4] * dims
    lattice = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, dims)
    assert fill_distance(lattice) == pytest.approx(0.25 * np.sqrt(dims) / 2)


def test_on_a_line_it_is_half_of_the_widest_gap() -> None:
    assert fill_distance(np.array([[0.0], [4.0], [1.0], [1.5]])) == 1.25
    flat = np.array([[0.0, 2.0], [4.0, 2.0], [1.0, 2.0], [1.5, 2.0]])
    assert fill_distance(flat) == 1.25


def test_of_a_circle_the_centre_is_farthest() -> None:
    angle = np.linspace(0, 2 * np.pi, 60)
    assert fill_distance(np.stack([np.cos(angle), np.sin(angle)], axis=1)) == pytest.approx(1, abs=1e-6)


def test_a_long_edge_of_the_hull_counts() -> None:
    # (0, 0), (10, 0) and one corner far above: midway on the lower edge is 5 from the nearest.
    corners = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 30.0], [5.0, 29.0]])
    assert fill_distance(corners) == pytest.approx(14.75, abs=0.5)


def test_equal_points_and_one_point_leave_nothing_uncovered() -> None:
    assert fill_distance(np.ones((4, 2))) == 0.0
    assert fill_distance(np.ones((1, 2))) == 0.0


def test_in_many_dimensions_more_samples_cover_better() -> None:
    points = np.random.default_rng(0).uniform(size=(4000, 6))
    assert 0 < fill_distance(points) < fill_distance(points[:200])
