import numpy as np
import pandas as pd
import pytest

from koopcast.tuning import best, means

POINTS = pd.DataFrame(
    [
        {"factor": factor, "seed": seed, "score": score}
        for factor, scores in {1.0: (4.0, 6.0), 1.1: (1.0, 3.0), 1.2: (0.5, np.nan)}.items()
        for seed, score in enumerate(scores)
    ]
)


def test_means_and_intervals_by_hand() -> None:
    rows = means(POINTS, ["factor"], "score")
    assert rows["mean"].tolist() == [5.0, 2.0, 0.5]
    # Two values 2 apart: standard deviation √2, its mean's 1; Student's t with 1 degree of freedom is 12.706.
    assert rows["half_width"][:2].tolist() == pytest.approx([12.7062, 12.7062], rel=1e-4)
    assert np.isnan(rows["half_width"][2])
    assert rows[["seeds", "lost"]].to_numpy().tolist() == [[2, 0], [2, 0], [1, 1]]


@pytest.mark.parametrize(("sign", "factor"), [(1, 1.1), (-1, 1.0)])
def test_the_best_is_least_or_greatest_among_those_that_lost_nothing(sign: int, factor: float) -> None:
    rows = means(POINTS, ["factor"], "score")
    place = best(rows, sign)
    assert rows["factor"][place] == factor


def test_where_all_lost_something_the_best_of_them_counts_and_nothing_is_the_best_of_nothing() -> None:
    rows = means(POINTS[POINTS["factor"] == 1.2], ["factor"], "score")
    assert best(rows, 1) == 0
    assert best(rows[:0], 1) is None
    assert best(rows.assign(mean=np.nan), 1) is None


def test_an_axis_that_does_not_reach_the_score_counts_once() -> None:
    twice = pd.concat([POINTS.assign(other=number) for number in (1, 2)], ignore_index=True)
    pd.testing.assert_frame_equal(means(twice, ["factor"], "score"), means(POINTS, ["factor"], "score"))


def test_without_axes_it_is_the_mean_of_all_repetitions() -> None:
    rows = means(POINTS[POINTS["factor"] == 1.1], [], "score")
    assert rows[["mean", "seeds", "lost"]].to_numpy().tolist() == [[2.0, 2, 0]]
