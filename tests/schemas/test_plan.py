"""Plans: keys change with what decides a result, and with nothing else; what changed is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from koopcast.errors import InvalidInput
from koopcast.rng import derived_seed
from schemas.check import Earlier
from schemas.pipeline import load
from schemas.plan import Plan, explain, key_of, make_plan

TWIN = Path(__file__).parent / "data" / "twin.yaml"


def plan(*overrides: str, text: str | None = None, folder: Path | None = None) -> Plan:
    if text is None or folder is None:
        return make_plan(load(TWIN, overrides))
    file = folder / "p.yaml"
    file.write_text(text)
    return make_plan(load(file, overrides))


def changed(*overrides: str) -> set[str]:
    before, after = plan(), plan(*overrides)
    return {step.name for step in after.steps if step.key != before[step.name].key}


def test_a_plan_names_each_step_after_what_it_needs() -> None:
    assert [step.name for step in plan().steps] == [
        "truth",
        "dynamics",
        "analysis",
        "perfect",
        "network",
        "scores",
    ]
    assert [step.kind for step in plan().steps] == [
        "dataset",
        "model",
        "analysis",
        "analysis",
        "model",
        "scores",
    ]


def test_a_key_is_the_same_wherever_the_file_lies(tmp_path: Path) -> None:
    copy = tmp_path / "deep" / "copy.yaml"
    copy.parent.mkdir()
    shutil.copy(TWIN, copy)
    assert [step.key for step in make_plan(load(copy)).steps] == [step.key for step in plan().steps]


def test_a_default_that_is_written_out_changes_no_key() -> None:
    assert (
        changed(
            "steps.truth.record_every=1", "steps.truth.system.forcing=8", "steps.perfect.initial=climatology"
        )
        == set()
    )


@pytest.mark.parametrize(
    "override",
    [
        "steps.truth.retries=3",
        "steps.dynamics.device=cpu",
        "steps.scores.expect=[]",
        "description=other",
        "threads=1",
        "runner=dask",
        "name=other",
    ],
)
def test_what_cannot_change_a_result_changes_no_key(override: str) -> None:
    assert changed(override) == set()


@pytest.mark.parametrize(
    ("override", "steps"),
    [
        ("steps.dynamics.model.rank=9", {"dynamics", "analysis", "scores"}),
        ("steps.scores.leads=[1, 3, 5]", {"scores"}),
        ("steps.perfect.repeats=2", {"perfect"}),
        ("steps.network.training.epochs=3", {"network"}),
        ("steps.truth.steps=301", {"truth", "dynamics", "analysis", "perfect", "network", "scores"}),
        ("seed=2", {"truth", "dynamics", "analysis", "perfect", "network", "scores"}),
    ],
)
def test_an_option_changes_its_step_and_what_lies_downstream(override: str, steps: set[str]) -> None:
    assert changed(override) == steps


def test_another_part_of_the_same_data_is_another_input() -> None:
    assert changed("steps.analysis.data=truth.train") == {"analysis", "scores"}


def test_seeds_come_from_the_name_of_the_step() -> None:
    for step in plan().steps:
        assert step.seed == derived_seed(1, step.name)


def test_methods_meet_the_same_observations() -> None:
    same = plan(
        "steps.perfect.observations={kind: synthetic, locations: {kind: random, count: 20}, "
        "error: {std: 1.0}}"
    )
    assert same["analysis"].observation_seed == same["perfect"].observation_seed
    assert plan()["analysis"].observation_seed != plan()["perfect"].observation_seed
    assert plan()["dynamics"].observation_seed is None
    other = plan("steps.analysis.repeats=2")
    assert other["analysis"].observation_seed != plan()["analysis"].observation_seed


def test_components_are_json_and_make_the_key() -> None:
    for step in plan().steps:
        assert key_of(json.loads(json.dumps(step.components))) == step.key


def test_what_changed_is_named_option_by_option() -> None:
    before = plan()
    after = plan("steps.dynamics.model.rank=9", "steps.dynamics.model.delays=3")
    lines = explain(before["dynamics"].components, after["dynamics"].components)
    assert "option model.rank: 8 -> 9" in lines
    assert all(line.startswith("option model.") for line in lines)
    (line,) = explain(before["analysis"].components, after["analysis"].components)
    assert line == f"input model: {before['dynamics'].key[:12]} -> {after['dynamics'].key[:12]}"
    assert explain(before["truth"].components, after["truth"].components) == []


def test_a_change_of_seed_or_code_is_named() -> None:
    before = plan()["truth"].components
    assert explain(before, plan("seed=2")["truth"].components) == [
        f"seed: {derived_seed(1, 'truth')} -> {derived_seed(2, 'truth')}"
    ]
    module = "koopcast.systems.lorenz96"
    edited = {**before, "code": {**before["code"], module: "0" * 64}}
    assert explain(before, edited) == [f"code of {module}: {before['code'][module][:12]} -> {'0' * 12}"]


def test_the_code_of_a_step_is_that_of_its_methods() -> None:
    found = plan()
    assert "koopcast.systems.lorenz96" in found["truth"].components["code"]
    assert "koopcast.integrators.rk4" in found["truth"].components["code"]
    assert "koopcast.systems.lorenz63" not in found["truth"].components["code"]
    assert "koopcast.training" in found["network"].components["code"]
    assert "koopcast.training" not in found["dynamics"].components["code"]
    assert "koopcast.assimilation.letkf" not in found["analysis"].components["code"]


INGEST = """\
name: real
steps:
  data:
    task: ingest
    source: {kind: netcdf, path: fields.nc}
    variables: [t]
"""


def write_fields(file: Path, value: float) -> None:
    file.parent.mkdir(exist_ok=True)
    time = np.arange("2000-01", "2000-07", dtype="datetime64[M]").astype("datetime64[ns]")
    values = np.full((6, 3, 4), value, dtype=np.float32)
    dataset = xr.Dataset(
        {"t": (("time", "latitude", "longitude"), values, {"units": "K"})},
        coords={"time": time, "latitude": [0.0, 1.0, 2.0], "longitude": [0.0, 90.0, 180.0, 270.0]},
    )
    dataset.to_netcdf(file.with_suffix(".new"), engine="netcdf4")
    file.with_suffix(".new").replace(file)


def test_an_external_file_counts_by_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_fields(one / "fields.nc", 1.0)
    other.mkdir()
    shutil.copy(one / "fields.nc", other / "fields.nc")
    monkeypatch.chdir("/")
    first, second = plan(text=INGEST, folder=one), plan(text=INGEST, folder=other)
    assert first["data"].key == second["data"].key
    write_fields(other / "fields.nc", 2.0)
    third = plan(text=INGEST, folder=other)
    assert third["data"].key != first["data"].key
    (line,) = explain(first["data"].components, third["data"].components)
    assert line.startswith("file 0:fields.nc: ")


def test_digests_of_big_files_are_remembered(tmp_path: Path) -> None:
    write_fields(tmp_path / "fields.nc", 1.0)
    (tmp_path / "p.yaml").write_text(INGEST)
    memory: dict[str, str] = {}
    first = make_plan(load(tmp_path / "p.yaml"), memory=memory)
    assert len(memory) == 1
    memory = dict.fromkeys(memory, "0" * 64)
    second = make_plan(load(tmp_path / "p.yaml"), memory=memory)
    assert second["data"].key != first["data"].key
    assert second["data"].components["files"] == {"0:fields.nc": "0" * 64}


def test_an_artefact_of_an_earlier_run_enters_by_its_key() -> None:
    known = load(TWIN)
    earlier = Earlier(known.findings.contracts["dynamics"], "k" * 64)
    override = ["steps.analysis.model=runs://twin/latest/dynamics"]
    found = make_plan(load(TWIN, override, lambda ref: earlier), lookup=lambda ref: earlier)
    (item,) = [item for item in found["analysis"].inputs if item.path == "model"]
    assert (item.step, item.key, item.ref) == (None, "k" * 64, "runs://twin/latest/dynamics")
    assert found["analysis"].contract is not None
    with pytest.raises(InvalidInput, match="no store is at hand"):
        make_plan(load(TWIN, override))


def test_what_is_cached_is_not_run() -> None:
    found = plan().select({"truth", "dynamics"})
    assert {name: decision.action for name, decision in found.items()} == {
        "truth": "cached",
        "dynamics": "cached",
        "analysis": "run",
        "perfect": "run",
        "network": "run",
        "scores": "run",
    }


def test_from_a_step_on_everything_downstream_runs() -> None:
    names = {step.name for step in plan().steps}
    found = plan().select(names, from_="dynamics")
    assert [name for name, decision in found.items() if decision.action == "run"] == [
        "dynamics",
        "analysis",
        "scores",
    ]
    assert all(decision.action == "run" for decision in plan().select(names, force=True).values())


def test_only_a_step_runs_alone_and_needs_its_inputs() -> None:
    found = plan().select({"truth"}, only="dynamics")
    assert {name: decision.action for name, decision in found.items() if decision.action != "skip"} == {
        "dynamics": "run"
    }
    assert plan().select({"truth", "dynamics"}, only="dynamics")["dynamics"].action == "cached"
    with pytest.raises(InvalidInput, match="step 'analysis' needs 'dynamics', which is not in the store"):
        plan().select({"truth"}, only="analysis")


@pytest.mark.parametrize("option", ["only", "from_"])
def test_a_step_that_is_not_there_is_refused_with_a_suggestion(option: str) -> None:
    with pytest.raises(InvalidInput, match="there is no step 'dynamcs'; did you mean 'dynamics'"):
        plan().select(set(), **{option: "dynamcs"})


def test_costs_follow_from_shapes() -> None:
    # 2 samples x 300 records x 40 cells in float32, coordinates and descriptions
    cost = plan()["truth"].cost
    assert cost is not None
    assert 0 < cost.disk - 2 * 300 * 40 * 4 < 20_000
    assert cost.seconds({}) is None
    assert cost.seconds({"generate:lorenz96": 1000.0}) == pytest.approx(2 * 300 * 40 / 1000)


def test_the_work_of_a_training_is_what_it_learns_from_and_one_look_at_the_rest() -> None:
    whole = plan()["dynamics"].cost
    part = plan("steps.dynamics.subset={count: 100}")["dynamics"].cost
    assert whole is not None
    assert part is not None
    # 2 samples of 200 records of 40 cells, states of 2 frames
    assert whole.work == 2 * 200 * 40 * 2
    assert part.work == 100 * 40 * 2 + 2 * 200 * 40
    assert part.memory < whole.memory


def test_the_time_of_a_study_is_that_of_its_last_run(tmp_path: Path) -> None:
    text = "name: p\nsteps:\n  a: {task: study, study: subspace_embedding}\n"
    cost = plan(text=text, folder=tmp_path)["a"].cost
    assert cost is not None
    assert cost.rate == "study:subspace_embedding"
    assert cost.seconds({cost.rate: 1 / 25.0}) == pytest.approx(25.0)
    assert 0 < cost.disk < cost.memory
