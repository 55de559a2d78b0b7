"""Experiments as one batch end as they would alone: values, random numbers and last states."""

import pytest
import torch

from koopcast.assimilation import AnyAnalysis
from koopcast.assimilation.cycle import CycleState
from koopcast.assimilation.side_by_side import fit, observations_fit, run_side_by_side
from koopcast.numerics.arrays import normal
from koopcast.rng import Streams
from tests.koopcast.assimilation.test_cycle import build, cycle, experiment, seeded, start

NEAR = {"kind": "gaspari_cohn", "radius": 2.0}
FACTORS = (1.0, 1.02, 1.1)


def inflated(kind, factor, name="multiplicative", **options):
    return {"kind": kind, "members": 8, "inflation": {"kind": name, "factor": factor}, **options}


def compared(methods, observations=None, repeats=2):
    """Return the same experiments alone and side by side, each with streams of its own."""
    trials = [experiment(method, observations, repeats) for method in methods]

    def states():
        for seed, trial in enumerate(trials):
            members = trial.method.num_members()
            yield CycleState(
                start(trial.dynamics, trial.truth, members, repeats, seed=seed), seeded(10 + seed)
            )

    alone = [run_side_by_side([trial], [state])[0] for trial, state in zip(trials, states(), strict=True)]
    return alone, run_side_by_side(trials, list(states()))


@pytest.mark.parametrize(
    "options",
    [
        [inflated("etkf", factor, rotation=True) for factor in FACTORS],
        [inflated("etkf", factor) for factor in FACTORS],
        [inflated("etkf", factor, "rtps", rotation=True) for factor in (0.3, 0.7)],
        [inflated("etkf", factor, "rtpp") for factor in (0.3, 0.7)],
        [inflated("enkf", factor) for factor in FACTORS],
        [inflated("enkf", 1.02, localization={**NEAR, "radius": radius}) for radius in (1.0, 2.0)],
        [
            inflated("letkf", factor, rotation=True, localization={**NEAR, "radius": radius})
            for factor, radius in ((1.0, 1.0), (1.05, 1.0), (1.02, 3.0))
        ],
    ],
)
def test_experiments_side_by_side_end_as_they_do_alone(options):
    alone, together = compared(options)
    for one, other in zip(alone, together, strict=True):
        for name in ("rmse", "spread", "chi_square", "degrees_of_freedom"):
            assert torch.allclose(one.figures[name], other.figures[name], rtol=0, atol=1e-10)
        assert torch.allclose(one.state.ensemble, other.state.ensemble, rtol=0, atol=1e-10)
        assert torch.equal(one.state.generator.get_state(), other.state.generator.get_state())
    first, second = (result.figures["rmse"] for result in together[:2])
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_set_of_one_is_a_plain_run():
    method = inflated("letkf", 1.05, rotation=True, localization=NEAR)
    trial = experiment(method, repeats=2)
    state = CycleState(start(trial.dynamics, trial.truth, 8, 2), seeded(4))
    assert torch.equal(run_side_by_side([trial], [state])[0].analysis, cycle(trial, 8, 2).analysis)


def test_streams_draw_for_each_set_what_it_would_draw_alone():
    both = normal(6, 4, generator=Streams([seeded(1), seeded(2)], samples=3))
    one, other = normal(3, 4, generator=seeded(1)), normal(3, 4, generator=seeded(2))
    assert torch.equal(both, torch.stack((one, other), dim=1).flatten(0, 1))


@pytest.mark.parametrize(
    ("second", "fits"),
    [
        (inflated("etkf", 1.5), True),
        (inflated("etkf", 0.5, "rtps"), False),
        ({**inflated("etkf", 1.02), "members": 9}, False),
        ({**inflated("etkf", 1.02), "rotation": True}, False),
        (inflated("enkf", 1.02), False),
    ],
)
def test_only_what_a_batch_can_vary_may_differ(second, fits):
    assert fit([build(AnyAnalysis, method) for method in (inflated("etkf", 1.02), second)]) is fits


def test_relaxation_by_nothing_runs_apart_from_relaxation():
    methods = [build(AnyAnalysis, inflated("etkf", factor, "rtps")) for factor in (0.0, 0.5)]
    assert not fit(methods)


def test_a_method_without_streams_of_its_own_runs_alone():
    assert not fit([build(AnyAnalysis, {"kind": "ienks", "members": 8})] * 2)


def test_observations_at_other_times_do_not_fit():
    sets = [experiment("free_run", {"kind": "synthetic", "every": every}).observations for every in (2, 2, 3)]
    assert observations_fit(sets[:2])
    assert not observations_fit(sets)
