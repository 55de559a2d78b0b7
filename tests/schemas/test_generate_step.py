"""Options of `generate` that cannot be followed, refused with their place; and what its step promises."""

from pathlib import Path

import pytest

from schemas.faults import PipelineInvalid
from schemas.pipeline import Loaded, load
from schemas.plan import make_plan

DARCY = "system: {kind: darcy, points: 17}, samples: 8"
SIGNAL = "system: dynamic_signal, samples: 8"
RING = "system: {kind: lorenz96, points: 8}, samples: 8, steps: 20"
WAVES = "system: {kind: kuramoto_sivashinsky, points: 128}, samples: 8, steps: 20"
SPOTS = "system: {kind: diffusion_reaction, points: 32}, steps: 5"
CAT = "system: cat_map, steps: 5"
DUFFING = "system: duffing, samples: 8, steps: 20, parameters: {damping: [0.1, 0.2]}"
PARTS = "split: {sample: {train: 6, test: 2}}"


def write(tmp_path: Path, *steps: str) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text("\n".join(["name: p", "steps:", *(f"  {step}" for step in steps)]) + "\n")
    return path


def generate(options: str, name: str = "a") -> str:
    return f"{name}: {{task: generate, {options}}}"


def faults(tmp_path: Path, *steps: str) -> list[str]:
    try:
        load(write(tmp_path, *steps))
    except PipelineInvalid as error:
        return [str(fault).split("p.yaml:")[1] for fault in error.faults]
    return []


@pytest.mark.parametrize(
    ("system", "option", "words"),
    [
        (DARCY, "dt: 0.1", "'darcy' is stationary and takes no `dt`; remove it"),
        (DARCY, "steps: 5", "takes no `steps`"),
        (DARCY, "burn_in: 5", "takes no `burn_in`"),
        (DARCY, "record_every: 5", "takes no `record_every`"),
        (DARCY, "integrator: rk4", "takes no `integrator`"),
        (DARCY, "verify_tol: 0.1", "takes no `verify_tol`"),
        (DARCY, "arithmetic: float32", "takes no `arithmetic`"),
        (DARCY, "solver: fft", "constant coefficients"),
        (SIGNAL, "solver: direct", "'dynamic_signal' is drawn and takes no `solver`"),
        (SIGNAL, "steps: 5", "takes no `steps`"),
        (SIGNAL, "defect_tol: 0.1", "takes no `defect_tol`"),
        (RING, "solver: direct", "'lorenz96' evolves and takes no `solver`; remove it"),
        (RING, "integrator: etdrk4", "does not solve a tendency equation"),
        (RING, "design: sobol", "there are no `parameters` to lay out"),
        (DARCY, "max_failed_fraction: 1", "must be below 1"),
        (
            DARCY,
            "every_point: 3",
            "3 does not cut the 16 intervals between points of 'y' into equal parts; use 2",
        ),
        (DARCY, "every_point: 17", "use 16"),
        (WAVES, "every_point: 5", "5 does not cut the 128 points of 'x' into equal parts; use 4 or 8"),
        (WAVES, "every_point: 128", "use 64"),
        (SPOTS, "every_point: 2", "none lies at the ends of 'y'"),
        (RING, "every_point: 2", "'lorenz96' has no grid in space; remove it"),
        (SIGNAL, "every_point: 2", "'dynamic_signal' is drawn and takes no `every_point`"),
        (CAT, "dt: 0.5", "0.5 is no whole number of iterations; use 1"),
        (CAT, "dt: 2.4", "2.4 is no whole number of iterations; use 2"),
        (DARCY, "block: 0", "must be above 0"),
        (DARCY, "stream: ''", "must not be empty"),
    ],
)
def test_an_option_without_meaning_is_refused_with_its_place(
    tmp_path: Path, system: str, option: str, words: str
) -> None:
    (fault,) = faults(tmp_path, generate(f"{system}, {option}"))
    name = option.partition(":")[0]
    assert fault.startswith("3:")
    assert f"steps.a.{name}: " in fault
    assert words in fault


@pytest.mark.parametrize(
    ("system", "parameters", "words"),
    [
        (
            DARCY,
            "{sauce: [1, 2]}",
            "'sauce' of 'darcy' cannot differ from sample to sample (what can: source)",
        ),
        (DARCY, "{points: [16, 32]}", "'points' of 'darcy' cannot differ"),
        (SIGNAL, "{noise: {kind: normal, mean: 1, std: 1}}", "the law 'normal' reaches -"),
        (
            SIGNAL,
            "{noise: [0.5, 5000]}",
            "the law 'uniform' reaches 5000, which 'dynamic_signal' does not take",
        ),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, system: str, parameters: str, words: str
) -> None:
    (fault,) = faults(tmp_path, generate(f"{system}, parameters: {parameters}"))
    assert f"steps.a.parameters.{parameters[1:].partition(':')[0]}: " in fault
    assert words in fault


def test_parts_of_samples_alone_divide_data_without_time(tmp_path: Path) -> None:
    assert faults(tmp_path, generate(f"{DARCY}, {PARTS}")) == []
    (fault,) = faults(tmp_path, generate(f"{DARCY}, split: {{time: {{train: 0.5}}}}"))
    assert "steps.a.split.time: 'darcy' is stationary and has no time; split it by `sample`" in fault


def test_a_dynamics_model_refuses_data_without_time(tmp_path: Path) -> None:
    fault, *_ = faults(tmp_path, generate(DARCY), "m: {task: train, data: a, model: dmd}")
    assert "steps.m.data: the samples of 'a' have no time, and 'dmd' learns what follows what" in fault
    *_, fault = faults(
        tmp_path,
        generate(f"{RING}, {PARTS}"),
        generate(DARCY, "b"),
        "s: {task: evaluate, of: [a.system], data: b}",
    )
    assert "'a.system' forecasts, and the data have no time ('b')" in fault


def test_a_count_that_a_design_cannot_meet_is_named_once(tmp_path: Path) -> None:
    design = "parameters: {source: [1, 2]}, design: {kind: christoffel, degree: 9}"
    (fault,) = faults(tmp_path, generate(f"{DARCY}, {design}"))
    assert "steps.a.samples: christoffel cannot fit 10 features to 8 rows; take 10 rows or more" in fault


def test_maps_take_whole_iterations(tmp_path: Path) -> None:
    assert faults(tmp_path, generate(f"{CAT}, dt: 3")) == []


@pytest.mark.parametrize("system", [DARCY, SIGNAL, DUFFING, f"{WAVES}, every_point: 2"])
def test_there_is_a_true_model_only_where_all_samples_evolve_alike_on_the_grid_that_is_stored(
    tmp_path: Path, system: str
) -> None:
    found = faults(tmp_path, generate(system), "s: {task: evaluate, of: [a.system], data: a}")
    assert any("has no part 'system'" in fault for fault in found)


def planned(tmp_path: Path, *steps: str) -> Loaded:
    return load(write(tmp_path, *steps))


def test_steps_of_one_stream_draw_the_same_numbers_and_share_what_is_equal(tmp_path: Path) -> None:
    plan = make_plan(
        planned(
            tmp_path,
            generate(RING),
            generate(f"{RING}, stream: a", "b"),
            generate(f"{RING}, dtype: float64, stream: a", "c"),
            generate(RING, "d"),
        )
    )
    assert plan["a"].seed == plan["b"].seed == plan["c"].seed != plan["d"].seed
    assert plan["a"].key == plan["b"].key != plan["c"].key


def test_fields_without_time_promise_one_record(tmp_path: Path) -> None:
    fields = planned(tmp_path, generate(DARCY)).findings.contracts["a"].fields
    assert fields.is_stationary
    assert (fields.samples, tuple(fields.variables), fields.shape) == (8, ("coefficient", "u"), (17, 17))


def test_points_that_are_not_kept_are_missing_in_the_promise_and_on_the_disk(tmp_path: Path) -> None:
    findings = planned(
        tmp_path,
        generate(f"{WAVES}, every_point: 4"),
        generate(WAVES, "b"),
        generate(f"{DARCY}, every_point: 2", "c"),
    ).findings
    assert findings.contracts["a"].fields.shape == (32,)
    assert findings.contracts["c"].fields.shape == (9, 9)
    part, whole = findings.costs["a"], findings.costs["b"]
    assert whole.disk - part.disk == pytest.approx(8 * 20 * 96 * 4, rel=0.05)
    assert part.work == whole.work == 8 * 20 * 128


def test_nothing_is_certified_where_options_vary(tmp_path: Path) -> None:
    findings = planned(tmp_path, generate(DUFFING), generate("system: duffing, steps: 20", "b")).findings
    assert findings.contracts["a"].fields.properties == frozenset()
    assert findings.contracts["b"].fields.properties == {"measure_preserving"}
