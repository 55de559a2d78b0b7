import json
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import InvalidInput, ShapeMismatch
from koopcast.solvers.learners import AnyLearner, AnyOmega, LearnerSpec
from koopcast.solvers.learners.base import Grid
from koopcast.solvers.learners.chebcb import ChebCBSpec
from koopcast.solvers.learners.fixed import FixedSpec
from koopcast.solvers.learners.tsallis_inf import TsallisINFSpec
from koopcast.solvers.learners.tsallis_inf_cb import TsallisINFCBSpec

CONTEXT: dict[str, Any] = {"context": "shift", "context_range": (-1.0, 1.0)}
LEARNERS: list[LearnerSpec] = [
    FixedSpec(omega=1.2),
    TsallisINFSpec(),
    TsallisINFCBSpec(**CONTEXT),
    ChebCBSpec(**CONTEXT),
]


def cost(omega: float, shift: float) -> float:
    """Return a cost like that of relaxation: many iterations at small ω, and a best ω that moves."""
    return 20.0 + 400.0 * (omega - 1.4 - 0.3 * shift) ** 2


def play(spec: LearnerSpec, rounds: int, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    learner = spec.build(rng)
    chosen = []
    for shift in np.random.default_rng(seed + 1).uniform(-1, 1, rounds):
        chosen.append(learner.choose({"shift": shift}))
        learner.learn(cost(chosen[-1], shift))
    return chosen


def test_a_bare_number_is_a_fixed_omega_and_a_block_is_a_learner() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnyOmega)
    assert adapter.validate_python(1.7) == FixedSpec(omega=1.7)
    assert adapter.validate_python(1) == FixedSpec(omega=1.0)
    assert adapter.validate_python("tsallis_inf") == TsallisINFSpec()
    assert adapter.validate_python({"kind": "chebcb", **CONTEXT}) == ChebCBSpec(**CONTEXT)


def test_the_schema_of_omega_offers_the_number_and_every_learner() -> None:
    written = json.dumps(TypeAdapter(AnyOmega).json_schema())
    assert '"type": "number"' in written
    assert all(f"{spec.kind}" in written for spec in LEARNERS)


@pytest.mark.parametrize("given", [0, 2, 2.5, -1.0, True, "1.5", {"kind": "fixed", "omega": 2.0}])
def test_an_omega_outside_zero_to_two_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyOmega).validate_python(given)


@pytest.mark.parametrize("grid", [{"low": 0.0}, {"high": 2.0}, {"low": 1.5, "high": 1.2}, {"count": 1}])
def test_a_grid_lies_between_zero_and_two_in_order(grid: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Grid.model_validate(grid)


@pytest.mark.parametrize("kind", ["chebcb", "tsallis_inf_cb"])
@pytest.mark.parametrize(
    "options", [{}, {"context": "shift"}, {"context_range": [0, 1]}, {**CONTEXT, "context_range": [1, 1]}]
)
def test_a_contextual_learner_without_context_and_range_is_refused(
    kind: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError, match="context"):
        TypeAdapter(AnyLearner).validate_python({"kind": kind, **options})


@pytest.mark.parametrize("spec", LEARNERS[2:], ids=lambda spec: spec.kind)
def test_a_context_outside_its_range_is_an_error_that_names_value_and_range(spec: LearnerSpec) -> None:
    learner = spec.build(np.random.default_rng(0))
    with pytest.raises(InvalidInput, match=r"shift = 1\.25 is outside context_range \[-1, 1\]"):
        learner.choose({"shift": 1.25})
    with pytest.raises(InvalidInput, match=r"no number 'shift' \(it has: slope"):
        learner.choose({"slope": 0.5})


def test_the_state_of_a_learner_with_another_grid_is_refused() -> None:
    small = TsallisINFSpec(grid=Grid(count=5)).build(np.random.default_rng(0))
    with pytest.raises(ShapeMismatch, match=r"\(5,\).*this one needs.*\(20,\)"):
        TsallisINFSpec().build(np.random.default_rng(0)).restore(small.state())


@pytest.mark.parametrize("spec", LEARNERS, ids=lambda spec: spec.kind)
def test_a_learner_chooses_among_its_actions_the_same_for_the_same_seed(spec: LearnerSpec) -> None:
    chosen = play(spec, 40, seed=3)
    assert set(chosen) <= set(spec.actions().tolist())
    assert chosen == play(spec, 40, seed=3)


@pytest.mark.parametrize("spec", LEARNERS, ids=lambda spec: spec.kind)
def test_a_restored_learner_goes_on_as_if_it_had_never_stopped(spec: LearnerSpec) -> None:
    shifts = np.random.default_rng(7).uniform(-1, 1, 60)
    kept = spec.build(np.random.default_rng(1))
    for shift in shifts[:30]:
        kept.learn(cost(kept.choose({"shift": shift}), shift))
    state = {name: value.copy() for name, value in kept.state().items()}
    resumed = spec.build(np.random.default_rng(2))
    resumed.restore(state)
    again = spec.build(np.random.default_rng(2))
    again.restore(kept.state())
    for shift in shifts[30:]:
        omegas = [learner.choose({"shift": shift}) for learner in (resumed, again)]
        assert omegas[0] == omegas[1]
        for learner in (resumed, again):
            learner.learn(cost(omegas[0], shift))
    assert all(np.array_equal(resumed.state()[name], again.state()[name]) for name in state)
    assert {name: value.shape for name, value in resumed.state().items()} == {
        name: value.shape for name, value in state.items()
    }
