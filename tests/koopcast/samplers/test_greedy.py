import numpy as np
import pytest

from koopcast.errors import DataError, InvalidInput
from koopcast.samplers.greedy import GreedySpec

A = np.random.default_rng(0).standard_normal((30, 4))
GENERATOR = np.random.default_rng(0)


def test_the_first_rows_follow_a_hand_example() -> None:
    # The longest row is (0, 3); off its span (2, 1) keeps 2 and (1.5, -9/4) keeps 1.5.
    rows = np.array([[1.5, -2.25], [0.0, 3.0], [2.0, 1.0], [0.5, 0.5]])
    assert GreedySpec().rows(rows, 2, GENERATOR).index.tolist() == [1, 2]
    assert GreedySpec().rows(rows, 1, GENERATOR).index.tolist() == [1]


def test_up_to_the_features_each_row_raises_the_volume_most() -> None:
    index = GreedySpec().rows(A, 4, GENERATOR).index
    for k in range(4):
        volumes = np.full(30, -1.0)
        for i in set(range(30)) - set(index[:k].tolist()):
            S = A[[*index[:k], i]]
            volumes[i] = np.linalg.det(S @ S.T)
        assert int(volumes.argmax()) == index[k]


def test_beyond_the_features_each_row_raises_the_determinant_most() -> None:
    index = GreedySpec().rows(A, 12, GENERATOR).index
    assert len(set(index.tolist())) == 12
    for k in range(4, 12):
        gains = np.full(30, -1.0)
        for i in set(range(30)) - set(index[:k].tolist()):
            S = A[[*index[:k], i]]
            gains[i] = np.linalg.det(S.T @ S)
        assert int(gains.argmax()) == index[k]


def test_the_choice_is_the_same_for_every_generator_and_grows_by_itself() -> None:
    few, many = (GreedySpec().rows(A, n, np.random.default_rng(n)).index.tolist() for n in (6, 30))
    assert many[:6] == few
    assert sorted(many) == list(range(30))


def test_three_points_of_a_line_are_its_ends_and_its_middle() -> None:
    points = GreedySpec().points(3, 1, GENERATOR).points[:, 0]
    assert np.allclose(np.sort(points), [0, 0.5, 1], atol=1e-3)


def test_more_rows_than_there_are_and_dependent_features_are_refused() -> None:
    with pytest.raises(InvalidInput, match="31 of 30 rows"):
        GreedySpec().rows(A, 31, GENERATOR)
    with pytest.raises(InvalidInput, match="101 points and 101 features, but 100 candidates"):
        GreedySpec(candidates=100).points(101, 1, GENERATOR)
    with pytest.raises(DataError, match="rank 4"):
        GreedySpec().rows(np.hstack((A, A[:, :1])), 5, GENERATOR)
