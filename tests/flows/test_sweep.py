"""A pipeline with a sweep: batches equal single runs, lost points are rows, runs go on where they stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import tasks.together
from flows.display import Silent
from flows.engines import InlineEngine
from flows.inspect import show_plan
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out
from koopcast.stores import Store
from tests.flows.conftest import TUNING

FACTOR = "steps.etkf.method.inflation.factor"
Go = Callable[..., RunResult]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Run the pipeline with a sweep and conditions, in this process."""

    def run(sweep: str = "", *conditions: str, **options: object) -> RunResult:
        file = tmp_path / "tuning.yaml"
        file.write_text(f"{TUNING}    expect: {list(conditions)}\n" + (f"sweep: {sweep}\n" if sweep else ""))
        root = str(options.pop("store", tmp_path / "store"))
        request = Request.model_validate({"pipeline": str(file), "store": root, **options})
        return carry_out(prepare(request), InlineEngine(), Silent())

    return run


def artefact(result: RunResult, name: str = "scores") -> Path:
    return Path(str(result.steps[name].artefact))


def points(result: RunResult) -> pd.DataFrame:
    return pd.read_parquet(artefact(result) / "points.parquet")


def states(result: RunResult) -> dict[str, str]:
    return {name: "cached" if step.cached else step.state for name, step in result.steps.items()}


GRID = f"{{over: {{{FACTOR}: [1.0, 1.05]}}, seeds: 2}}"


def test_the_optimum_is_the_best_mean_and_gates_the_run(go: Go, tmp_path: Path) -> None:
    result = go(GRID, "rmse(etkf.best) <= 0.5 * rmse(climatology)", "rmse(etkf.best) < 0")
    assert [gate.holds for gate in result.expect] == [True, False]
    assert result.state == "expectation_failed"
    table = points(result)
    assert table[["factor", "seed", "state"]].to_numpy().tolist() == [
        [1.0, 0, "done"], [1.0, 1, "done"], [1.05, 0, "done"], [1.05, 1, "done"],
    ]  # fmt: skip
    expected = table.groupby("factor")["rmse(etkf)"].mean()
    assert result.scores["rmse"]["etkf.best"]["all"] == pytest.approx(expected.min(), rel=1e-12)
    assert result.report is not None
    assert "Best options of scores" in Path(result.report).read_text()
    best = yaml.safe_load((tmp_path / "store" / "runs" / result.run / "scores.best.yaml").read_text())
    assert best == {"steps": {"etkf": {"method": {"inflation": {"factor": expected.idxmin()}}}}}


def test_points_in_a_batch_score_what_single_runs_score(go: Go, tmp_path: Path) -> None:
    swept = points(go(GRID)).set_index(["factor", "seed"])["rmse(etkf)"]
    for factor in (1.0, 1.05):
        alone = go(overrides=[f"{FACTOR}={factor}"], store=tmp_path / "other")
        assert swept[factor, 0] == pytest.approx(alone.scores["rmse"]["etkf"]["all"], abs=1e-7)


def test_equal_parts_are_done_once_and_a_second_run_does_nothing(go: Go) -> None:
    go(overrides=[f"{FACTOR}=1.05"])
    first, second = go(GRID), go(GRID)
    found = states(first)
    assert found["truth"] == found["etkf[factor=1.05]"] == "cached"
    assert found["etkf[factor=1.0]"] == found["etkf[factor=1.05, seed=1]"] == "done"
    assert {state for name, state in states(second).items() if name != "scores"} == {"cached"}
    assert second.scores == first.scores
    assert artefact(second) == artefact(first)


def test_a_batch_that_was_stopped_goes_on_with_the_points_that_are_missing(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, published = tasks.together.publish, []

    def killed(*arguments: Any) -> object:
        if len(published) == 2:
            raise KeyboardInterrupt
        published.append(publish(*arguments))
        return published[-1]

    monkeypatch.setattr(tasks.together, "publish", killed)
    with pytest.raises(KeyboardInterrupt):
        go(GRID)
    monkeypatch.undo()
    found = states(result := go(GRID))
    assert sorted(found[name] for name in found if name.startswith("etkf")) == ["cached"] * 2 + ["done"] * 2
    whole = go(GRID, store=tmp_path / "other")
    assert points(result)["rmse(etkf)"].tolist() == points(whole)["rmse(etkf)"].tolist()


WILD = "{kind: multiplicative, factor: 1.0e+30, when: prior}"
TAME = "{kind: multiplicative, factor: 1.05}"


def test_a_point_that_diverges_is_a_row_and_does_not_stop_the_sweep(go: Go) -> None:
    sweep = f"{{over: {{steps.etkf.method.inflation: [{WILD}, {TAME}]}}, seeds: 2}}"
    result = go(sweep, "rmse(etkf.best) < rmse(climatology)")
    assert result.state == "done"
    table = points(result)
    assert table["state"].tolist() == ["skipped", "skipped", "done", "done"]
    assert "observation time" in table["message"][0]
    assert result.steps["scores"].message == "4 points, 2 of them lost"
    lost = [step.state for name, step in result.steps.items() if name.startswith("etkf[")]
    assert lost == ["lost", "lost", "done", "done"]


def test_one_point_of_a_batch_that_diverges_leaves_the_others(go: Go, tmp_path: Path) -> None:
    prior = "steps.etkf.method.inflation.when=prior"
    sweep = f"{{over: {{{FACTOR}: [1.02, 1.0e+30, 1.05]}}}}"
    result = go(sweep, overrides=[prior])
    assert points(result)["state"].tolist() == ["done", "skipped", "done"]
    alone = go(overrides=[prior, f"{FACTOR}=1.05"], store=tmp_path / "other")
    assert points(result)["rmse(etkf)"][2] == pytest.approx(alone.scores["rmse"]["etkf"]["all"], abs=1e-7)


def test_a_sweep_that_loses_every_point_has_failed(go: Go) -> None:
    result = go(f"{{over: {{steps.etkf.method.inflation: [{WILD}]}}}}", "rmse(etkf.best) < 1")
    assert result.exit_code == 1


def test_the_optimum_is_found_for_each_size(go: Go) -> None:
    members = "steps.etkf.method.members"
    sweep = f"{{over: {{{FACTOR}: [1.0, 1.1], {members}: [3, 6]}}, per: {members}}}"
    result = go(sweep, "rmse(etkf.best, n=6) <= rmse(etkf.best, n=3)")
    text = (artefact(result) / "best.yaml").read_text()
    assert "# etkf, n=3: rmse(etkf) = " in text
    assert yaml.safe_load(text)["steps"]["etkf"]["method"]["members"] in (3, 6)
    best = points(result).groupby("members")["rmse(etkf)"].min()
    found = result.scores["rmse"]["etkf.best"]
    assert [found["n=3"], found["n=6"], found["all"]] == pytest.approx([best[3], best[6], best.min()])


def test_the_plan_counts_points(go: Go, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(overrides=[f"{FACTOR}=1.05"])
    go(GRID, only="truth")
    show_plan(tmp_path / "tuning.yaml", [], str(tmp_path / "store"), as_json=False)
    shown = capsys.readouterr().out
    assert "3 of 4 points" in " ".join(shown.split())
    show_plan(tmp_path / "tuning.yaml", [], str(tmp_path / "store"), as_json=True)
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [step["action"] for step in steps if step["origin"] == "etkf"].count("run") == 3


SEARCH = f"{{over: {{{FACTOR}: {{low: 1.0, high: 1.3}}}}, search: {{kind: optuna, trials: 5, startup: 3}}}}"


def test_a_search_asks_for_the_same_points_again_and_finds_them(go: Go, tmp_path: Path) -> None:
    first = go(SEARCH, "rmse(etkf.best) < rmse(climatology)")
    assert first.state == "done"
    table = points(first)
    assert len(table) == 5
    assert table["factor"].between(1.0, 1.3).all()
    assert first.scores["rmse"]["etkf.best"]["all"] == pytest.approx(table["rmse(etkf)"].min())
    assert (tmp_path / "store" / "runs" / first.run / "search.journal").is_file()
    second = go(SEARCH)
    assert {state for name, state in states(second).items() if "[" in name} == {"cached"}
    assert points(go(SEARCH, store=tmp_path / "other"))["factor"].tolist() == table["factor"].tolist()
    assert set(Store.open(tmp_path / "store").run(first.run).record.steps) >= set(first.steps)
