"""Run records: who lives, what is latest, what a reference means."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from koopcast.errors import InvalidInput, StoreDamaged, StoreMissing
from koopcast.stores import Run, StepRecord, Store

KEY = "0123456789abcdef" * 4


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def step(number: int, state: str = "done") -> StepRecord:
    return StepRecord.model_validate(
        {"kind": "model", "key": f"{number:064x}", "state": state, "digest": f"{number:02x}" * 32}
    )


def finished(store: Store, state: str = "done", **steps: StepRecord) -> Run:
    run = store.new_run("sst", steps)
    run.finish("done" if state == "done" else "failed")
    return run


def test_a_run_records_its_steps_and_its_end(store: Store) -> None:
    with store.new_run("sst", {"dynamics": step(1, "pending")}) as run:
        assert run.state == "running"
        assert run.is_live
        run.set_step("dynamics", step(1))
        run.update(scores={"rmse": 0.5})
        run.write("report/index.html", "<p>figures</p>")
        assert store.run(run.name).state == "running"
    read = store.run("sst/latest")
    assert read.record == run.record
    assert read.state == "done"
    assert not read.is_live
    assert read.record.steps["dynamics"].ref.key == f"{1:064x}"
    assert read.record.finished is not None
    assert (read.path / "report" / "index.html").read_text() == "<p>figures</p>"


def test_an_error_fails_the_run(store: Store) -> None:
    with pytest.raises(RuntimeError), store.new_run("sst"):
        raise RuntimeError("stop")
    assert store.run("sst/latest").state == "failed"


def test_runs_come_newest_first_even_within_a_second(store: Store) -> None:
    made = [finished(store, a=step(number)).name for number in range(8)]
    assert [run.name for run in store.runs("sst")] == made[::-1]
    assert store.run("sst/latest").name == made[-1]


def test_latest_is_the_newest_run_in_which_the_step_completed(store: Store) -> None:
    finished(store, dynamics=step(1), scores=step(9))
    second = finished(store, "failed", dynamics=step(2), scores=step(10, "failed"))
    finished(store, "failed", dynamics=step(3, "failed"), scores=step(10, "pending"))
    assert store.resolve("runs://sst/latest/dynamics") == step(2).ref
    assert store.resolve("runs://sst/latest/scores") == step(9).ref
    assert store.resolve(f"runs://{second.name}/dynamics") == step(2).ref
    with pytest.raises(StoreMissing, match=r"step 'scores' did not complete.*run pipeline 'sst' first"):
        store.resolve(f"runs://{second.name}/scores")


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("runs://sst/latest/dynamic", StoreMissing, "did you mean 'dynamics'"),
        ("runs://stt/latest/dynamics", StoreMissing, "did you mean 'sst'"),
        ("runs://sst/20200101T000000Z-0000/dynamics", StoreMissing, "has no run"),
        ("runs://sst/latest", InvalidInput, "write runs://"),
        ("runs:/sst/latest/dynamics", InvalidInput, "write runs://"),
        ("runs://../latest/dynamics", InvalidInput, "no name of a pipeline"),
    ],
)
def test_a_reference_that_means_nothing_says_what_would(
    store: Store, uri: str, error: type[Exception], message: str
) -> None:
    finished(store, dynamics=step(1))
    with pytest.raises(error, match=message):
        store.resolve(uri)


def test_a_pipeline_without_runs_has_no_latest(store: Store) -> None:
    with pytest.raises(StoreMissing, match="pipeline 'sst' has no runs"):
        store.run("sst/latest")


def test_a_killed_run_is_told_from_a_living_one(store: Store) -> None:
    code = f"""
import sys
from koopcast.stores import Store
run = Store.open({str(store.root)!r}).new_run("sst")
print(run.name, flush=True)
sys.stdin.readline()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert store.run(name).state == "running"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert store.run(name).record.state == "running"
    assert store.run(name).state == "killed"


def test_an_unreadable_record_is_damage(store: Store) -> None:
    run = finished(store)
    (run.path / "record.json").write_text("{")
    with pytest.raises(StoreDamaged, match=r"no readable record\.json"):
        store.run(run.name)
