from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from koopcast.distributions.beta import BetaSpec
from koopcast.distributions.uniform import UniformSpec
from koopcast.linear import Profile
from koopcast.solvers.learners.chebcb import ChebCBSpec
from koopcast.solvers.learners.fixed import FixedSpec
from koopcast.solvers.learners.tsallis_inf import TsallisINFSpec
from koopcast.solvers.learners.tsallis_inf_cb import TsallisINFCBSpec
from koopcast.solvers.sor import SORSpec
from koopcast.solvers.ssor import SSORSpec
from koopcast.studies.many_systems import iteration_counts, side_by_side
from koopcast.studies.relaxation import REACTION, RelaxationSpec, Trial
from koopcast.studies.sequences import draw_problems, stationary

SMALL = RelaxationSpec(
    parameters={"reaction": UniformSpec(low=20.0, high=60.0)},
    samples=16,
    trials=2,
    learners={"low": FixedSpec(omega=1.0), "high": FixedSpec(omega=1.6), "bandit": TsallisINFSpec()},
)


def test_fixed_learners_pay_what_the_solver_takes_on_the_same_systems() -> None:
    findings = SMALL.run(seed=4)
    for name, omega in (("low", 1.0), ("high", 1.6)):
        costs = []
        for trial in range(2):
            profile = Profile((10, 10), is_symmetric=True)
            solver = SORSpec(omega=omega).build(profile, np.random.default_rng(0))
            problems = draw_problems(stationary(SMALL.system), SMALL.parameters, 16, 4, "relaxation", trial)
            costs.append([solver.solve(problem).iterations for problem in problems])
        assert findings.scores["iterations"][name]["8"] == np.mean(np.array(costs)[:, :8])
        assert findings.scores["last"][name]["16"] == np.mean(np.array(costs)[:, -5:])


def test_scores_of_a_table_have_their_hand_values() -> None:
    # Four systems, two ω: sums 22 and 20, so the second is best in hindsight; after two it is the first.
    counts = np.array([[4, 9], [3, 5], [9, 2], [6, 4]])
    trial = Trial(np.array([1.0, 1.5]), counts, {"player": np.array([0, 1, 1, 0])})
    assert trial.scores("player", 4) == {"iterations": 17 / 4, "last": 6.0, "regret": -3.0}
    assert trial.scores("player", 2) == {"iterations": 9 / 2, "last": 5.0, "regret": 2.0}
    assert trial.scores("best_fixed", 4) == {"iterations": 5.0, "last": 4.0, "regret": 0.0}
    assert trial.scores("best_fixed", 2)["iterations"] == 3.5
    assert trial.scores("instance_optimal", 4) == {"iterations": 13 / 4, "last": 4.0, "regret": -7.0}


def test_nothing_beats_the_best_omega_of_each_system_and_regret_agrees_with_the_means() -> None:
    scores = SMALL.run(seed=0).scores
    assert set(scores) == set(SMALL.metrics())
    for metric in scores.values():
        assert {name: tuple(map(int, sizes)) for name, sizes in metric.items()} == SMALL.subjects()
    mean = {name: sizes["16"] for name, sizes in scores["iterations"].items()}
    assert all(mean["instance_optimal"] <= value for value in mean.values())
    for name, value in mean.items():
        assert scores["regret"][name]["16"] == pytest.approx(16 * (value - mean["best_fixed"]))


def test_the_same_seed_gives_the_same_tables_and_another_seed_others() -> None:
    first, again, other = (SMALL.run(seed).tables for seed in (1, 1, 2))
    for name, table in first.items():
        assert table.equals(again[name])
        assert not table.equals(other[name])
    assert len(first["rounds"]) == 2 * 3 * 16
    assert sorted(first["fixed"]["omega"].unique()) == pytest.approx(np.linspace(1, 1.95, 20))


def test_a_longer_sequence_begins_with_the_shorter_one() -> None:
    short = SMALL.run(seed=1).tables["rounds"]
    longer = SMALL.model_copy(update={"samples": 20}).run(seed=1).tables["rounds"]
    keys = ["trial", "learner", "system"]
    both = short.merge(longer, on=keys, suffixes=("", "_longer"))
    assert len(both) == len(short)
    assert (both["iterations"] == both["iterations_longer"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "lorenz63"}, "system: lorenz63 poses no linear systems"),
        ({"system": {"kind": "helmholtz"}, "parameters": {}}, "indefinite"),
        ({"parameters": {"viscosity": [0.0, 1.0]}}, "poisson cannot vary 'viscosity'.*reaction"),
        ({"learners": {"best_fixed": 1.0}}, "learners"),
        ({"learners": {"best_fixed": {"kind": "fixed"}}}, "'best_fixed' names a comparison"),
        ({"learners": {"1st": {"kind": "fixed"}}}, "learners"),
        ({"learners": {"x": {"kind": "chebcb", "context": "reaction"}}}, "context_range"),
        (
            {"learners": {"x": {"kind": "chebcb", "context": "reaction", "context_range": [0, 99]}}},
            r"context_range \[0, 99\] of 'x' does not hold the law of reaction, \[-18\.15, 54\.45\]",
        ),
        ({"samples": 7}, "samples"),
    ],
)
def test_what_cannot_be_studied_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RelaxationSpec.model_validate(options)


@pytest.mark.slow
def test_counts_of_the_paper_s_systems_are_exact_for_sweeps_and_within_one_for_gradients() -> None:
    # Conjugate gradients lose orthogonality: where ω is far too large, the order of a sum moves a residual
    # near the tolerance by tens of percent.
    spec = RelaxationSpec()
    problems = draw_problems(stationary(spec.system), spec.parameters, 12, 0, "sample")
    for base in ("sor", "ssor"):
        counts = iteration_counts(base, side_by_side(problems), spec.actions(), 1e-8, 10_000)
        for action, omega in enumerate(spec.actions().tolist()):
            method = SORSpec() if base == "sor" else SSORSpec()
            alone = [method.iterate(one.matrix, one.rhs, omega)[1] for one in problems]
            assert np.abs(counts[:, action] - alone).max() <= (0 if base == "sor" else 1)


@pytest.mark.claim
@pytest.mark.parametrize(("a", "b"), [(0.5, 1.5), (2.0, 6.0)], ids=["high variance", "low variance"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learned_omega_approaches_the_best_fixed_one_and_with_context_the_best_of_each_system(
    a: float, b: float, seed: int
) -> None:
    context: dict[str, Any] = {"context": "reaction", "context_range": REACTION}
    spec = RelaxationSpec(
        parameters={"reaction": BetaSpec(a=a, b=b, low=REACTION[0], high=REACTION[1])},
        learners={
            "gauss_seidel": FixedSpec(omega=1.0),
            "tsallis_inf": TsallisINFSpec(),
            "tsallis_inf_cb": TsallisINFCBSpec(**context),
            "chebcb": ChebCBSpec(**context),
        },
    )
    scores = spec.run(seed).scores
    last = {name: sizes["1000"] for name, sizes in scores["last"].items()}
    assert last["tsallis_inf"] <= 1.35 * last["best_fixed"]
    assert last["tsallis_inf"] <= 0.35 * last["gauss_seidel"]
    assert last["chebcb"] <= 0.85 * last["best_fixed"]
    assert last["chebcb"] <= 1.3 * last["instance_optimal"]
    for learner in ("tsallis_inf", "tsallis_inf_cb", "chebcb"):
        rates = [regret / int(size) for size, regret in scores["regret"][learner].items()]
        assert rates[0] > rates[1] > rates[2]
