"""Support vector machines whose solution is known, and the conditions that every one satisfies."""

import numpy as np
import pytest

from koopcast.numerics.support_vectors import support_vectors

RNG = np.random.default_rng(0)


def test_two_points_are_parted_in_the_middle() -> None:
    # x = -1 and 3 on a line: f(x) = (x - 1)/2, of margin 2, with α = 1/8 at both.
    x = np.array([[-1.0], [3.0]])
    machine = support_vectors(x @ x.T, np.array([-1.0, 1.0]), cost=10.0)
    assert np.allclose(machine.weights, [-1 / 8, 1 / 8])
    assert machine.bias == pytest.approx(-0.5)
    assert np.allclose(machine.decide(np.array([[1.0], [5.0]]) @ x.T), [0, 2])


@pytest.mark.parametrize("cost", [0.5, 50.0])
def test_the_conditions_of_the_optimum_hold(cost: float) -> None:
    x = RNG.normal(size=(60, 2))
    labels = np.sign(x[:, 0] * x[:, 1] + 0.3 * RNG.normal(size=60))
    gram = np.exp(-((x[:, None] - x) ** 2).sum(axis=2))
    machine = support_vectors(gram, labels, cost)
    alpha = labels * machine.weights
    margin = labels * machine.decide(gram)
    assert abs(machine.weights.sum()) < 1e-9
    assert alpha.min() >= 0
    assert alpha.max() <= cost + 1e-9
    assert margin[alpha < 1e-9].min() > 1 - 1e-5
    assert margin[alpha > cost - 1e-9].max() < 1 + 1e-5
    free = (alpha > 1e-9) & (alpha < cost - 1e-9)
    assert free.sum() > 3
    assert np.allclose(margin[free], 1, atol=1e-5)
