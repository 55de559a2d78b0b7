import numpy as np
import pytest

from koopcast.errors import DataError, InvalidInput
from koopcast.numerics.leverage import leverage, orthonormal
from koopcast.samplers.lp import LpSpec, filled_rates, systematic

A = np.random.default_rng(0).standard_t(2, size=(200, 4))
TAU = leverage(orthonormal(A))


def test_root_leverage_is_leverage_at_two() -> None:
    root, _ = LpSpec(p=2, score="root_leverage").scores(A)
    plain, _ = LpSpec(p=2, score="leverage").scores(A)
    assert np.allclose(root, plain)
    assert np.allclose(plain, TAU)


def test_the_score_is_chosen_by_the_exponent() -> None:
    assert np.allclose(LpSpec(p=1.5).scores(A)[0], TAU**0.75)
    assert np.allclose(LpSpec().scores(A)[0], TAU)
    mixture, figures = LpSpec(p=3).scores(A)
    sigma, _ = LpSpec(p=3, score="sensitivity").scores(A)
    assert np.allclose(mixture, TAU + sigma)
    assert figures["total_sensitivity"] == pytest.approx(sigma.sum())


@pytest.mark.parametrize("score", ["sensitivity", "leverage", "lewis", "root_leverage", "uniform"])
def test_weighted_sums_over_the_rows_are_right_in_mean(score: str) -> None:
    x = np.array([1.0, -2.0, 0.5, 1.0])
    powers = np.abs(A @ x) ** 1.5
    draw = LpSpec.model_validate({"p": 1.5, "score": score}).drawing(A)
    generator = np.random.default_rng(1)
    drawn = [draw(80, generator) for _ in range(400)]
    sums = np.array([rows.weight @ powers[rows.index] for rows in drawn]) * 200 / 80
    assert abs(sums.mean() - powers.sum()) < 4 * sums.std() / np.sqrt(400)
    assert np.mean([len(rows.index) for rows in drawn]) == pytest.approx(80, abs=1.5)


@pytest.mark.parametrize("count", [4, 37, 150, 199, 200])
def test_clipped_rates_still_add_up_to_the_count(count: int) -> None:
    scores = TAU**2
    rates = filled_rates(scores, count)
    assert rates.sum() == pytest.approx(count)
    assert rates.max() <= 1
    free = rates < 1
    assert np.allclose(rates[free] / scores[free], (rates[free] / scores[free]).mean() if free.any() else 1)
    assert (scores[~free].min(initial=1) >= scores[free].max(initial=0)) or not free.any()


def test_rows_without_a_score_are_never_kept() -> None:
    assert filled_rates(np.array([0.0, 3.0, 1.0, 0.0]), 3).tolist() == [0, 1, 1, 0]
    assert filled_rates(np.array([0.0, 3.0, 1.0, 0.0]), 1).tolist() == [0, 0.75, 0.25, 0]


def test_without_filling_clipping_leaves_fewer_rows_as_in_the_paper() -> None:
    rows = LpSpec(score="leverage", fill=False).rows(A, 100, np.random.default_rng(2))
    expected = np.minimum(1, 100 * TAU / TAU.sum()).sum()
    assert expected < 95
    assert rows.figures["expected_count"] == pytest.approx(expected)


def test_systematic_sampling_keeps_exactly_the_count_at_the_same_rates() -> None:
    rates = filled_rates(TAU, 60)
    generator = np.random.default_rng(3)
    kept = np.array([systematic(rates, generator) for _ in range(2000)])
    assert (kept.sum(axis=1) == 60).all()
    error = kept.mean(axis=0) - rates
    assert (np.abs(error) < 5 * np.sqrt(rates * (1 - rates) / 2000) + 1e-12).all()
    assert len(LpSpec(size="exact").rows(A, 60, generator).index) == 60


def test_dependent_features_need_a_ridge() -> None:
    B = np.hstack((A, A[:, :1]))
    with pytest.raises(DataError, match="200 rows of 5 features have rank 4"):
        LpSpec(p=1, score="lewis").rows(B, 50, np.random.default_rng(0))
    regular, _ = LpSpec(p=1, score="lewis").scores(A)
    ridged, _ = LpSpec(p=1, score="lewis", ridge=1e-8).scores(B)
    assert np.allclose(ridged, regular, rtol=1e-2)


def test_fewer_rows_than_features_and_more_than_there_are_are_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(InvalidInput, match="3 rows cannot keep norms of 4 features"):
        LpSpec().rows(A, 3, generator)
    with pytest.raises(InvalidInput, match="201 of 200 rows; take at most 200"):
        LpSpec().rows(A, 201, generator)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        LpSpec(p=0.9)
