import numpy as np
import pytest

from koopcast.solvers.learners.base import Grid
from koopcast.solvers.learners.tsallis_inf import TsallisINF, TsallisINFSpec, probabilities


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("eta", [2.0, 0.02])
def test_probabilities_sum_to_one_and_solve_their_equation(spread: float, eta: float) -> None:
    q = spread * np.random.default_rng(0).random(20)
    p = probabilities(q, eta)
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    # p_i = 4 / (η (q_i - x))² has one unknown: x from the least q must give all of them.
    least = int(q.argmin())
    depth = 2.0 / (eta * np.sqrt(p[least]))
    assert p == pytest.approx(4.0 / (eta * (q - q[least] + depth)) ** 2, rel=1e-9)


def test_two_actions_agree_with_the_closed_form() -> None:
    # η = 2, q = (0, d): 1/x² + 1/(d - x)² = 1. At x = -√2, d = 0 both are 1/2; at x = -1.25 the first is
    # 0.64, so d - x = 1/0.6.
    assert probabilities(np.array([0.0, 1.0 / 0.6 - 1.25]), 2.0) == pytest.approx([0.64, 0.36], abs=1e-12)


def test_all_actions_are_alike_at_the_start() -> None:
    bandit = TsallisINFSpec().build(np.random.default_rng(0))
    assert bandit.probabilities() == pytest.approx(np.full(20, 0.05), abs=1e-14)


def test_sums_of_losses_are_unbiased_for_every_action() -> None:
    # k_i grows by (cost - 1) / p_i with chance p_i: its mean is the loss of action i, its variance
    # loss² (1/p_i - 1). Each draw is a first round, where p = 1/4.
    losses, draws = np.array([1.0, 3.0, 5.0, 9.0]), 1000
    rng, total = np.random.default_rng(5), np.zeros(4)
    for _ in range(draws):
        bandit = TsallisINF(np.arange(4.0), rng)
        bandit.learn(1.0 + losses[int(bandit.choose({}))])
        total += bandit.k
    error = losses * np.sqrt(3.0 / draws)
    assert (np.abs(total / draws - losses) <= 4.0 * error).all()


def test_regret_against_chance_grows_like_a_logarithm() -> None:
    # Four doublings of the horizon: √ growth would multiply regret by 4, linear growth by 16;
    # log(1600)/log(100) is 1.6.
    regrets = np.mean([_regrets(seed, (100, 1600)) for seed in range(3)], axis=0)
    assert regrets[1] < 3.0 * regrets[0]


def _regrets(seed: int, horizons: tuple[int, ...]) -> list[float]:
    means = np.array([30.0, 50.0, 50.0, 50.0])
    rng = np.random.default_rng(seed)
    bandit = TsallisINFSpec(grid=Grid(low=1.0, high=1.6, count=4)).build(rng)
    actions, regret, found = bandit.actions.tolist(), 0.0, []
    for t in range(1, max(horizons) + 1):
        mean = means[actions.index(bandit.choose({}))]
        bandit.learn(mean + rng.uniform(-20, 20))
        regret += mean - means.min()
        if t in horizons:
            found.append(regret)
    return found


def test_a_shifted_best_action_is_found_again() -> None:
    # The adversary exchanges best and worst after a third: a bandit for chance alone would hold on.
    rng = np.random.default_rng(0)
    bandit = TsallisINFSpec(grid=Grid(low=1.0, high=1.5, count=2)).build(rng)
    late = []
    for t in range(1200):
        omega = bandit.choose({})
        bandit.learn(10.0 if (omega == 1.0) == (t < 400) else 60.0)
        late.append(omega)
    assert np.mean(np.array(late[300:400]) == 1.0) > 0.8
    assert np.mean(np.array(late[1100:]) == 1.5) > 0.8
