import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.optimize import lsq_linear

from koopcast.solvers.learners.base import Grid
from koopcast.solvers.learners.chebcb import ChebCB, ChebCBSpec, choices

SPEC = ChebCBSpec(context="c", context_range=(2.0, 6.0), grid=Grid(low=1.0, high=1.9, count=4))


def taught(rounds: int, coefficients: np.ndarray) -> tuple[ChebCB, np.ndarray]:
    """Return a learner that saw costs 1 + Σ a_ij T_j, and which actions it played."""
    learner, rng = SPEC.build(np.random.default_rng(1)), np.random.default_rng(2)
    played = []
    for c in rng.uniform(2, 6, rounds):
        action = int(np.argmin(np.abs(learner.actions - learner.choose({"c": c}))))
        learner.learn(1.0 + chebyshev.chebval((c - 4.0) / 2.0, coefficients[action]))
        played.append(action)
    return learner, np.array(played)


def test_a_polynomial_cost_is_recovered_whole() -> None:
    # Degree 5 < m = 6, and coefficients within the bounds (K, 2 Λ/j): least squares is then exact.
    coefficients = np.array([[40.0, 8, 3, 1, 0.5, 0.2]] * 4) + np.arange(4.0)[:, None]
    learner, played = taught(200, coefficients)
    assert set(played) == {0, 1, 2, 3}
    assert learner.theta * learner.scale() == pytest.approx(coefficients, abs=1e-8)


def test_a_fit_out_of_bounds_is_the_best_one_within() -> None:
    # T_5 with a coefficient of 30 and costs between 11 and 71 asks for more than 2 Λ/5 = 24.
    coefficients = np.array([[40.0, 0, 0, 0, 0, 30.0]] * 4)
    learner, _ = taught(120, coefficients)
    bound = 2.0 * np.diff(learner.costs)[0] / np.arange(1, 6)
    scaled = learner.theta * learner.scale()
    assert (np.abs(scaled[:, 1:]) <= bound * (1 + 1e-12)).all()
    assert scaled[:, 5] == pytest.approx(bound[4])
    for action in range(4):
        R, z = learner.factors[action, :6, :6], learner.factors[action, :6, 6]
        limit = np.append(learner.costs[1], bound)
        best = lsq_linear(R, z, bounds=(-limit, limit), method="trf", tol=1e-14)
        assert np.linalg.norm(R @ scaled[action] - z) <= np.linalg.norm(best.fun) * (1 + 1e-6)


def test_factors_hold_the_same_least_squares_as_all_rows() -> None:
    learner, rng = SPEC.build(np.random.default_rng(0)), np.random.default_rng(3)
    rows: dict[int, list[np.ndarray]] = {}
    for c in rng.uniform(2, 6, 60):
        action = int(np.argmin(np.abs(learner.actions - learner.choose({"c": c}))))
        cost = rng.uniform(10, 90)
        learner.learn(cost)
        row = np.append(chebyshev.chebvander((c - 4.0) / 2.0, 5), cost - 1.0)
        rows.setdefault(action, []).append(row)
    for action, seen in rows.items():
        table, factor = np.stack(seen), learner.factors[action]
        assert factor.T @ factor == pytest.approx(table.T @ table, rel=1e-9, abs=1e-9)


def test_chances_are_those_of_square_cb() -> None:
    # d = 3, η = 10: 1/(3 + 10·0.1) = 0.25, 1/(3 + 10·0.7) = 0.1, the best has what is left.
    assert choices(np.array([0.3, 0.2, 0.9]), 10.0) == pytest.approx([0.25, 0.65, 0.1])
    assert choices(np.zeros(5), 0.0) == pytest.approx(np.full(5, 0.2))


def test_boldness_follows_its_formula_with_errors_in_units_of_the_scale() -> None:
    learner = SPEC.build(np.random.default_rng(4))
    predicted, costs = [], []
    for c, cost in ((2.5, 30.0), (5.0, 12.0), (3.0, 50.0)):
        learner.choose({"c": c})
        predicted.append(chebyshev.chebval((c - 4.0) / 2.0, learner.theta[learner._index]))
        costs.append(cost)
        learner.learn(cost)
    scale = 50.0 * (2.0 + 4.0 * (38.0 / 50.0) * (1.0 + np.log(6.0)))
    alpha = (np.pi + 2.0 / np.pi * np.log(13.0)) * 38.0 / (2.0 * scale * 7.0)
    errors = np.sum((np.array(predicted) - np.array(costs) / scale) ** 2)
    assert learner.scale() == pytest.approx(scale)
    assert learner.boldness() == pytest.approx(6.0 * np.sqrt(12.0 / (errors + 6.0 * alpha**2)))


def test_the_best_action_of_each_context_wins() -> None:
    # Costs cross at c = 4: below it the first action is cheaper, above it the last.
    spec = SPEC.model_copy(update={"grid": Grid(low=1.0, high=1.9, count=2)})
    learner, rng = spec.build(np.random.default_rng(0)), np.random.default_rng(1)
    right = []
    for c in rng.uniform(2, 6, 600):
        omega = learner.choose({"c": c})
        learner.learn(50.0 + 15.0 * (c - 4.0) * (1 if omega == 1.0 else -1))
        right.append((omega == 1.0) == (c < 4.0))
    assert np.mean(right[-200:]) > 0.9
