import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows.request import RunResult
from koopcast.errors import InvalidInput
from koopcast.stores import Store, doctor, gc
from schemas.faults import PipelineInvalid

Go = Callable[..., RunResult]


def _states(result: RunResult) -> dict[str, str]:
    return {name: "cached" if step.cached else step.state for name, step in result.steps.items()}


def test_a_run_does_every_step_once_and_the_next_one_none(go: Go, tmp_path: Path) -> None:
    first = go()
    assert first.explanation() == ""
    assert _states(first) == dict.fromkeys(("truth", "model", "analysis", "scores"), "done")
    assert first.state == "done"
    assert first.exit_code == 0
    second = go()
    assert set(_states(second).values()) == {"cached"}
    assert second.scores == first.scores
    assert second.run != first.run
    assert doctor(Store.open(tmp_path / "store")).is_clean


def test_changing_one_option_runs_only_what_lies_below_it(go: Go) -> None:
    go()
    assert _states(go("steps.model.model.rank=2")) == {
        "truth": "cached",
        "model": "done",
        "analysis": "cached",
        "scores": "done",
    }


def test_changing_a_gate_computes_nothing(go: Go) -> None:
    go()
    result = go("steps.scores.expect=[rmse(analysis) < 0]")
    assert set(_states(result).values()) == {"cached"}
    assert (result.state, result.exit_code) == ("expectation_failed", 3)
    assert [gate.holds for gate in result.expect] == [False]
    assert result.expect[0].value == pytest.approx(result.scores["rmse"]["analysis"]["all"])


def test_results_do_not_depend_on_the_store_or_the_run(go: Go, tmp_path: Path) -> None:
    first, second = go(store=tmp_path / "one"), go(store=tmp_path / "two")
    for name, step in first.steps.items():
        assert second.steps[name].key == step.key
        digests = [json.loads((Path(str(s.artefact)) / "manifest.json").read_text())["digest"]
                   for s in (step, second.steps[name])]  # fmt: skip
        assert digests[0] == digests[1], name


def test_force_makes_the_same_again(go: Go) -> None:
    first = go()
    forced = go(force=True)
    assert set(_states(forced).values()) == {"done"}
    assert forced.scores == first.scores


def test_from_runs_a_step_and_what_follows(go: Go) -> None:
    go()
    assert _states(go(from_="analysis")) == {
        "truth": "cached",
        "model": "cached",
        "analysis": "done",
        "scores": "done",
    }


def test_only_runs_one_step_and_refuses_where_an_input_is_missing(go: Go) -> None:
    with pytest.raises(InvalidInput, match="'model' needs 'truth', which is not in the store"):
        go(only="model")
    assert go(only="truth").steps["truth"].state == "done"
    result = go(only="model")
    assert _states(result) == {
        "truth": "skipped",
        "model": "done",
        "analysis": "skipped",
        "scores": "skipped",
    }
    assert result.state == "done"


def test_a_step_that_fails_stops_what_needs_it_and_nothing_else(go: Go) -> None:
    broken = ("steps.analysis.method.inflation.factor=1.0e+30", "steps.analysis.method.inflation.when=prior")
    result = go(*broken)
    assert {name: step.state for name, step in result.steps.items()} == {
        "truth": "done",
        "model": "done",
        "analysis": "failed",
        "scores": "skipped",
    }
    assert result.exit_code == 1
    assert "steps.analysis" in result.steps["analysis"].message
    assert "observation time" in result.steps["analysis"].message
    assert result.report is not None
    assert "failed" in Path(result.report).read_text()
    assert go().state == "done"


def test_locked_runs_when_nothing_differs_and_names_what_does(go: Go) -> None:
    go()
    assert go(locked=True).state == "done"
    with pytest.raises(InvalidInput, match=r"step 'model': option options.*rank.*3 -> 2|rank: 3 -> 2"):
        go("steps.model.model.rank=2", locked=True)


def test_the_lock_file_holds_seed_keys_and_versions(go: Go, tmp_path: Path) -> None:
    result = go()
    lock = yaml.safe_load((tmp_path / "store" / "runs" / result.run / "run.lock.yaml").read_text())
    assert lock["seed"] == 5
    assert lock["steps"]["model"]["key"] == result.steps["model"].key
    assert {"python", "torch", "zarr"} <= set(lock["versions"])
    assert lock["pipeline"]["steps"]["model"]["model"]["rank"] == 3


def test_a_damaged_artefact_is_made_again(go: Go, tmp_path: Path) -> None:
    first = go()
    victim = Path(str(first.steps["truth"].artefact))
    chunk = max((path for path in victim.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    report = doctor(Store.open(tmp_path / "store"))
    assert [damage.steps for damage in report.damaged] == [("small/truth",)] or "truth" in str(report.damaged)
    assert go().steps["truth"].cached is False
    assert doctor(Store.open(tmp_path / "store")).is_clean


def test_a_later_pipeline_uses_what_an_earlier_run_made(go: Go, small: Path, tmp_path: Path) -> None:
    go()
    other = yaml.safe_load(small.read_text())
    other["name"] = "second"
    del other["steps"]["model"]
    other["steps"]["analysis"]["model"] = "runs://small/latest/truth.system"
    other["steps"]["scores"]["of"] = ["runs://small/latest/model", "analysis"]
    other["steps"]["scores"]["data"] = "truth.test"
    small.write_text(yaml.safe_dump(other))
    result = go()
    assert result.state == "done"
    assert "model" in result.scores["rmse"]


def test_an_invalid_file_writes_nothing(go: Go, tmp_path: Path) -> None:
    with pytest.raises(PipelineInvalid):
        go("steps.model.model.rank=-1")
    assert not (tmp_path / "store").exists()


def test_the_report_needs_no_network_and_shows_every_step(go: Go) -> None:
    page = Path(str(go().report)).read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    for name in ("truth", "model", "analysis", "scores"):
        assert name in page


def test_the_garbage_collector_keeps_what_the_last_run_shows(go: Go, tmp_path: Path) -> None:
    go()
    last = go("steps.model.model.rank=2")
    store = Store.open(tmp_path / "store")
    removed = [item.path for item in gc(store, keep_runs=1).removed]
    assert sorted(path.split("/")[1].split("-")[0] for path in removed if path.startswith("artefacts")) == [
        "model",
        "report",
        "scores",
    ]
    assert set(_states(go("steps.model.model.rank=2")).values()) == {"cached"}
    assert Path(str(last.report)).is_file()
    assert sum(path.name.startswith("report-") for path in store.artefacts.iterdir()) == 1
    assert doctor(store).is_clean
