from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.batching import batches
from schemas.faults import PipelineInvalid
from schemas.graph import graph_of, to_text
from schemas.pipeline import Loaded, load
from schemas.plan import Plan, make_plan
from schemas.points import shortest_names
from schemas.sweep import Range, Sweep

BASE = """\
name: tuning
seed: 5
steps:
  truth:
    task: generate
    system: {kind: lorenz96, points: 12}
    steps: 60
    split: {time: {train: ..1, test: 1.05..}}
  etkf: &twin
    task: assimilate
    model: truth.system
    data: truth.test
    observations: synthetic
    method: {kind: etkf, members: 8, inflation: {kind: multiplicative, factor: 1.05}}
    keep: mean
  letkf: {<<: *twin, method: {kind: letkf, members: 6, localization: {kind: gaspari_cohn}}}
  interpolation: {<<: *twin, method: optimal_interpolation}
  scores:
    task: evaluate
    of: [etkf, interpolation]
    against: [climatology]
    expect: []
  local_scores: {task: evaluate, of: [letkf]}
"""
FACTOR = "steps.etkf.method.inflation.factor"
MEMBERS = "steps.etkf.method.members"
RADIUS = "steps.letkf.method.localization.radius"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the pipeline with a sweep, and conditions on `scores`."""

    def to_file(sweep: str = "", conditions: Sequence[str] = ()) -> Path:
        text = BASE.replace("expect: []", f"expect: {list(conditions)}")
        file = tmp_path / "tuning.yaml"
        file.write_text(text + (f"sweep:\n{sweep}" if sweep else ""))
        return file

    return to_file


def over(**axes: str) -> str:
    paths = {"factor": FACTOR, "members": MEMBERS, "radius": RADIUS}
    return "  over:\n" + "".join(f"    {paths[name]}: {values}\n" for name, values in axes.items())


def faults(file: Path) -> list[str]:
    with pytest.raises(PipelineInvalid) as caught:
        load(file)
    return [f"{one.line}:{one.column} {one.path}: {one.message}" for one in caught.value.faults]


def planned(file: Path) -> Plan:
    return make_plan(load(file))


def names(plan: Plan, origin: str) -> list[str]:
    return [step.name for step in plan.steps if step.origin == origin]


def test_a_step_is_multiplied_by_the_axes_that_reach_it(write: Write) -> None:
    plan = planned(write(over(factor="[1.0, 1.1]", radius="[1, 2, 3]") + "  seeds: 2\n"))
    counts = {name: len(names(plan, name)) for name in dict.fromkeys(step.origin for step in plan.steps)}
    assert counts == {
        "truth": 1, "etkf": 4, "letkf": 6, "interpolation": 1, "scores": 4, "local_scores": 6,
    }  # fmt: skip
    assert names(plan, "etkf") == [
        "etkf[factor=1.0]", "etkf[factor=1.0, seed=1]", "etkf[factor=1.1]", "etkf[factor=1.1, seed=1]",
    ]  # fmt: skip
    assert plan["scores[factor=1.1, seed=1]"].needs == ("etkf[factor=1.1, seed=1]", "interpolation", "truth")


def test_the_first_repetition_of_a_point_is_the_step_without_a_sweep(write: Write) -> None:
    plain = make_plan(load(write(), [f"{FACTOR}=1.1"]))
    swept = planned(write(over(factor="[1.0, 1.1]") + "  seeds: 2\n"))
    assert swept["truth"].key == plain["truth"].key
    assert swept["etkf[factor=1.1]"].key == plain["etkf"].key
    assert swept["scores[factor=1.1]"].key == plain["scores"].key
    assert len({step.key for step in swept.steps}) == len(swept.steps)


def test_points_share_their_random_numbers_and_repetitions_do_not(write: Write) -> None:
    plan = planned(write(over(factor="[1.0, 1.1]") + "  seeds: 2\n"))
    low, high = plan["etkf[factor=1.0]"], plan["etkf[factor=1.1]"]
    other = plan["etkf[factor=1.0, seed=1]"]
    assert (low.seed, low.observation_seed) == (high.seed, high.observation_seed)
    assert low.seed != other.seed
    assert low.observation_seed != other.observation_seed


def test_redraw_repeats_a_step_and_all_below_it(write: Write) -> None:
    plan = planned(write(over(factor="[1.0, 1.1]") + "  seeds: 3\n  redraw: [truth]\n"))
    assert names(plan, "truth") == ["truth[seed=0]", "truth[seed=1]", "truth[seed=2]"]
    assert len(names(plan, "interpolation")) == 3
    assert plan["etkf[factor=1.1, seed=2]"].needs == ("truth[seed=2]",)
    assert plan["truth[seed=0]"].key == planned(write())["truth"].key


def test_a_reference_may_vary(write: Write) -> None:
    sweep = "  over: {steps.scores.of: [[etkf], [letkf]], steps.etkf.cycles: [10, 20]}\n"
    plan = planned(write(sweep))
    needs = [plan[name].needs for name in names(plan, "scores")]
    assert ("letkf", "truth") in needs
    assert ("etkf[cycles=20]", "truth") in needs


def test_the_graph_says_how_often(write: Write) -> None:
    text = to_text(graph_of(load(write(over(factor="[1.0, 1.1]") + "  seeds: 3\n"))))
    assert "assimilate etkf × 6" in text
    assert "evaluate rmse × 6" in text


def test_points_that_differ_in_what_a_filter_varies_are_a_batch(write: Write) -> None:
    plan = planned(write(over(factor="[1.0, 1.1]", members="[6, 8]", radius="[1, 2]") + "  seeds: 2\n"))
    found = [[step.name for step in batch] for batch in batches(plan.steps)]
    assert len(found) == 3
    assert sorted(found[0]) == sorted(name for name in names(plan, "etkf") if "members=6" in name)
    assert sorted(found[2]) == sorted(names(plan, "letkf"))


def test_only_and_from_take_the_name_in_the_file(write: Write) -> None:
    plan = planned(write(over(factor="[1.0, 1.1]")))
    only = plan.select(["truth"], only="etkf")
    assert [name for name, decision in only.items() if decision.action == "run"] == names(plan, "etkf")
    below = plan.downstream("etkf")
    assert below == {*names(plan, "etkf"), *names(plan, "scores")}


CONDITIONS = ["rmse(etkf.best) < 1 and rmse(etkf.best, n=8) < 1", "rmse(interpolation) < rmse(climatology)"]


def test_conditions_speak_of_the_optimum_and_of_what_does_not_vary(write: Write) -> None:
    sweep = over(factor="[1.0, 1.1]", members="[6, 8]") + f"  per: {MEMBERS}\n"
    assert isinstance(load(write(sweep, CONDITIONS)), Loaded)


@pytest.mark.parametrize(
    ("sweep", "conditions", "expected"),
    [
        (
            over(factor="[1.0, 1.1]"),
            ["rmse(etkf) < 1"],
            ["22:14 steps.scores.expect.0: unknown subject 'etkf'; did you mean 'etkf.best'?"],
        ),
        (
            over(factor="[1.0, 1.1]", members="[6, 8]") + f"  per: {MEMBERS}\n",
            ["rmse(etkf.best, n=7) < 1"],
            ["22:14 steps.scores.expect.0: 'etkf.best' has no score at size 7, its sizes are 6, 8"],
        ),
        (
            "  over: {steps.etkf.method.inflation.factr: [1, 2], steps.etkv.cycles: [1], cycles: [2]}\n",
            [],
            ["25:53 sweep.over.steps.etkv.cycles: there is no step 'etkv'; did you mean 'etkf'?",
             "25:77 sweep.over.cycles: a sweep varies an option of a step; write steps.<step>.<option>"],
        ),
        (
            "  over: {steps.etkf.method.inflation.factr: [1, 2], steps.letkf.cycles: [20, 4000]}\n",
            [],
            ["25:46 steps.etkf.method.inflation.factr: unknown key 'factr'; did you mean 'factor'?",
             " steps.letkf.cycles: 4000 is above 39, the records of 'truth.test'; lower cycles (at cyc"],
        ),
        (
            over(members="[8, 1]") + "  minimize: crps\n  redraw: [trut]\n",
            [],
            ["28:12 sweep.redraw.0: there is no step 'trut'; did you mean 'truth'?"],
        ),
        (
            over(members="[8, 1]") + "  minimize: crps\n",
            [],
            ["26:36 steps.etkf.method.members: must be at least 2, was given 1 (at members=1 of the sweep)",
             "27:13 sweep.minimize: 'crps' is not measured by 'scores' (metrics: rmse)"],
        ),
        (
            over(members="[8, 8]") + "  sedes: 2\n",
            [],
            ["25:3 sweep.over: 'steps.etkf.method.members' has a value twice",
             "27:3 sweep.sedes: unknown key 'sedes'; did you mean 'seeds'?"],
        ),
        (over(factor="[1.0, 1e999]"), [], ["has the value inf; write numbers that are finite"]),
        (over(factor="[1.0, [2, {a: .nan}]]"), [], ["has the value nan; write numbers that are finite"]),
        (
            over(members="{low: 4, hihg: 8, count: 3}"),
            [],
            [": `high` is required", "unknown key 'hihg'; did you mean 'high'?"],
        ),
        (over(members="{low: 4, high: 8}"), [], ["is a range, and a grid needs its values; add `count`"]),
        (over(factor="[1.5]") + f"  per: {FACTOR}\n", [], ["has values that are no whole numbers"]),
        (over(factor="[1.5]") + f"  per: {MEMBERS}\n", [], ["is no axis; name one of"]),
        (over(factor="{low: 2, high: 1, count: 3}"), [], ["2 is not below high 1"]),
        ("  over: {steps.etkf.task: [train]}\n", [], ["`task` cannot vary"]),
        (
            over(factor="{low: 1.0, high: 1.1}", radius="[1, 2]") + "  search: optuna\n",
            [],
            ["a search goes by one score, and 2 vary (etkf, letkf); name one with `subject`"],
        ),
    ],
)  # fmt: skip
def test_a_faulty_sweep_is_refused_with_every_fault_and_its_place(
    write: Write, sweep: str, conditions: list[str], expected: list[str]
) -> None:
    found = faults(write(sweep, conditions))
    assert len(found) == len(expected), found
    for given, wanted in zip(found, expected, strict=True):
        assert wanted in given


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ({"low": 1.0, "high": 2.0, "count": 3}, [1.0, 1.5, 2.0]),
        ({"low": 2, "high": 9, "count": 3}, [2, 6, 9]),
        ({"low": 0.01, "high": 1.0, "count": 3, "log": True}, [0.01, 0.1, 1.0]),
    ],
)
def test_a_range_has_the_values_of_a_grid(axis: dict[str, object], values: list[float]) -> None:
    assert Range.model_validate(axis).values() == values


def test_a_logarithm_needs_positive_ends() -> None:
    with pytest.raises(ValidationError, match="has no logarithm"):
        Range.model_validate({"low": 0.0, "high": 1.0, "log": True})
    with pytest.raises(ValidationError, match="give one of minimize and maximize"):
        Sweep.model_validate({"over": {FACTOR: [1]}, "minimize": "rmse", "maximize": "acc"})


def test_axes_have_the_shortest_name_that_is_theirs_alone() -> None:
    assert shortest_names(["steps.a.x.factor", "steps.b.x.factor", "steps.a.y"]) == {
        "steps.a.x.factor": "a.x.factor",
        "steps.b.x.factor": "b.x.factor",
        "steps.a.y": "y",
    }
