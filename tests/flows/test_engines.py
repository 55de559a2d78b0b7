"""One plan, two engines, two runners: the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from koopcast.stores import Store, doctor

ROOT = Path(__file__).parents[2]


def _run(folder: Path, store: str, *options: str) -> dict[str, tuple[str, str, str]]:
    """Return key, state and digest of each step."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "small.yaml", "--store", store, "--json", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KOOPCAST_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    return {
        name: (
            step["key"],
            step["state"],
            json.loads((Path(step["artefact"]) / "manifest.json").read_text())["digest"],
        )
        for name, step in steps.items()
    }


@pytest.mark.server
def test_engines_and_runners_leave_the_same_bytes(small: Path, tmp_path: Path) -> None:
    inline = _run(tmp_path, "inline", "--engine", "inline")
    assert _run(tmp_path, "threads", "--engine", "prefect") == inline
    dask = "runner={kind: dask, workers: 2}"
    assert _run(tmp_path, "dask", "--engine", "prefect", "--set", dask) == inline
    for store in ("inline", "threads", "dask"):
        assert doctor(Store.open(tmp_path / store)).is_clean


@pytest.mark.server
def test_a_failed_step_fails_the_flow_with_the_error_of_the_step(small: Path, tmp_path: Path) -> None:
    wrong = ["steps.truth.dt=0.1", "steps.truth.record_every=1"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "small.yaml", "--engine", "prefect"]
        + [word for item in wrong for word in ("--set", item)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KOOPCAST_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 1
    assert "halving dt = 0.1" in done.stderr
    assert "skipped" in done.stderr
    assert "Traceback" not in done.stderr
