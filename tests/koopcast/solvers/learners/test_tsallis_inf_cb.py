import numpy as np

from koopcast.solvers.learners.tsallis_inf_cb import TsallisINFCBSpec


def test_every_bin_learns_its_own_best_and_nothing_of_the_others() -> None:
    spec = TsallisINFCBSpec(context="c", context_range=(0.0, 3.0), bins=3)
    learner = spec.build(np.random.default_rng(0))
    for _ in range(50):
        learner.choose({"c": 1.5})
        learner.learn(40.0)
    rounds, k = learner.state()["rounds"], learner.state()["k"]
    assert rounds.tolist() == [0.0, 50.0, 0.0]
    assert not k[[0, 2]].any()
    assert k[1].any()


def test_bins_are_equal_and_the_greatest_context_is_in_the_last() -> None:
    spec = TsallisINFCBSpec(context="c", context_range=(-1.0, 1.0), bins=4)
    learner = spec.build(np.random.default_rng(0))
    for c in (-1.0, -0.51, -0.49, 0.01, 0.49, 0.51, 1.0):
        learner.choose({"c": c})
        learner.learn(10.0)
    assert learner.state()["rounds"].tolist() == [2.0, 1.0, 2.0, 2.0]
