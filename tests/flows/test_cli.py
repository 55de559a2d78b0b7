import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koopcast.stores import Store, doctor

ROOT = Path(__file__).parents[2]


Command = Callable[..., Any]


def test_the_installed_command_runs_as_a_process_of_its_own(small: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "validate", "small.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "small.yaml: valid, 4 steps\n", "")


def test_run_prints_one_object_and_its_shape_is_the_promised_one(
    koopcast: Command, small: Path, tmp_path: Path
) -> None:
    done = koopcast("run", "small.yaml", "--engine", "inline", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary) == {"run", "state", "steps", "scores", "expect", "report"}
    assert summary["state"] == "done"
    assert list(summary["steps"]) == ["truth", "model", "analysis", "scores"]
    assert {"key", "state", "cached", "seconds", "artefact"} <= set(summary["steps"]["model"])
    assert set(summary["scores"]["rmse"]["model"]) == {"1", "2", "all"}
    assert set(summary["scores"]["rmse"]["analysis"]) == {"all"}
    assert summary["expect"][0]["text"] == "rmse(analysis) < rmse(climatology)"
    assert summary["expect"][0]["holds"] is True
    assert Path(summary["report"]).is_file()
    assert Path(summary["steps"]["model"]["artefact"]).is_dir()
    assert doctor(Store.open(tmp_path / "runs")).is_clean

    shown = koopcast("show", "small")
    assert shown.returncode == 0
    assert "rmse" in shown.stdout
    assert summary["report"] in shown.stdout

    planned = koopcast("plan", "small.yaml", "--set", "steps.model.model.rank=2", "--json")
    actions = {row["step"]: (row["action"], row["reason"]) for row in json.loads(planned.stdout)["steps"]}
    assert actions["truth"] == ("cached", "nothing changed")
    assert actions["model"][0] == "run"
    assert "rank: 3 -> 2" in actions["model"][1]

    why = koopcast("why", "small.yaml", "model", "--set", "seed=6")
    assert "seed" in why.stdout

    for damaged in ("", '{"run": NaN}', "[" * 100_000):
        Path(summary["report"]).with_name("run.json").write_text(damaged)
        shown = koopcast("show", "small")
        assert shown.returncode == 1
        assert shown.stderr == f"the summary of '{summary['run']}' cannot be read; run it again\n"


def test_an_expectation_that_does_not_hold_is_exit_code_3(
    koopcast: Command, small: Path, tmp_path: Path
) -> None:
    done = koopcast(
        "run", "small.yaml", "--engine", "inline", "--set", "steps.scores.expect=['rmse(analysis) < 0.0']"
    )
    assert done.returncode == 3, done.stderr
    assert "FAILS  rmse(analysis) < 0.0" in done.stdout


def test_a_failed_step_is_exit_code_1_and_one_line(koopcast: Command, small: Path, tmp_path: Path) -> None:
    done = koopcast(
        "run",
        "small.yaml",
        "--engine",
        "inline",
        "--set",
        "steps.truth.dt=0.1",
        "--set",
        "steps.truth.record_every=1",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "small.yaml:6:3" in done.stderr
    assert "lower dt" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("run", "missing.yaml"), "missing.yaml  no such file"),
        (("run", "small.yaml", "--set", "steps.model.model.rnak=2"), "did you mean 'rank'?"),
        (("run", "small.yaml", "--only", "modle"), "did you mean 'model'?"),
        (("run", "small.yaml", "--store", "ftp://host/x"), "'ftp' is not supported"),
        (("run", "small.yaml", "--engine", "airflow"), "airflow"),
        (("show", "nothing"), "no store"),
        (("methods", "fmo"), "did you mean 'fno'?"),
        (("doctor", "--store", "nowhere"), "no store"),
    ],
)  # fmt: skip
def test_invalid_input_is_one_clear_line(
    koopcast: Command, small: Path, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    done = koopcast(*arguments)
    assert done.returncode == (1 if arguments[0] in ("show", "doctor") else 2), done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "runs").exists()


def test_validate_prints_every_fault_of_every_file(koopcast: Command, small: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nsteps:\n  a:\n    task: generate\n    system: lorenz36\n    steps: -1\n")
    done = koopcast("validate", "small.yaml", "bad.yaml")
    assert done.returncode == 2
    assert "small.yaml: valid" in done.stdout
    assert "bad.yaml:5:13" in done.stdout
    assert "bad.yaml:6:12" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_the_looking_commands_work_without_a_store(koopcast: Command, small: Path) -> None:
    assert "analysis" in koopcast("graph", "small.yaml").stdout
    assert koopcast("graph", "small.yaml", "--format", "mermaid").stdout.startswith("flowchart")
    assert koopcast("graph", "small.yaml", "--format", "svg").stdout.startswith("<svg")
    assert '"$schema"' in koopcast("schema").stdout
    assert "lorenz96" in koopcast("methods").stdout
    assert "none at runs" in koopcast("doctor").stdout


def test_init_writes_a_pipeline_that_is_valid_and_never_overwrites(koopcast: Command) -> None:
    assert koopcast("init", "project").returncode == 0
    assert koopcast("validate", "project/lorenz96.yaml").returncode == 0
    again = koopcast("init", "project")
    assert again.returncode == 2
    assert "already holds" in again.stderr
