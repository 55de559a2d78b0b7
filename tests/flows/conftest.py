import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.cli import main
from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out

PIPELINE = """\
name: small
description: A system, a model of it, a filter, and their scores, in seconds.
seed: 5
threads: 1
steps:
  truth:
    task: generate
    system: lorenz63
    dt: 0.01
    record_every: 10
    burn_in: 50
    steps: 240
    split: {time: {train: ..14, test: 14.05..}}
  model:
    task: train
    data: truth
    model: {kind: edmd, rank: 3, delays: 2}
  analysis:
    task: assimilate
    model: truth.system
    data: truth.test
    observations: {kind: synthetic, locations: all, error: {std: 1.0}}
    method: {kind: etkf, members: 8, inflation: {kind: multiplicative, factor: 1.05}}
    burn_in: 10
  scores:
    task: evaluate
    of: [model, analysis]
    against: [persistence, climatology]
    leads: [1, 2]
    metrics: [rmse, crps]
    expect:
      - rmse(analysis) < rmse(climatology)
"""

TUNING = """\
name: tuning
seed: 5
threads: 1
steps:
  truth:
    task: generate
    system: lorenz63
    dt: 0.01
    record_every: 10
    burn_in: 50
    steps: 120
    split: {time: {train: ..4, test: 4.05..}}
  etkf:
    task: assimilate
    model: truth.system
    data: truth.test
    observations: {kind: synthetic, locations: all, error: {std: 1.0}}
    method: {kind: etkf, members: 6, inflation: {kind: multiplicative, factor: 1.05}}
    burn_in: 10
    keep: mean
  scores:
    task: evaluate
    of: [etkf]
    against: [climatology]
"""

ROOT = Path(__file__).parents[2]
Go = Callable[..., RunResult]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(PIPELINE)
    return file


@pytest.fixture
def go(small: Path, tmp_path: Path) -> Go:
    """Run the small pipeline in this process."""

    def run(*overrides: str, **options: object) -> RunResult:
        root = str(options.pop("store", tmp_path / "store"))
        request = Request.model_validate(
            {"pipeline": str(small), "overrides": list(overrides), "store": root, **options}
        )
        return carry_out(prepare(request), InlineEngine(), Silent())

    return run


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def koopcast(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Call the command line in this process, from a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOOPCAST_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("KOOPCAST_STORE", raising=False)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["koopcast", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return call


def start(folder: Path, file: str, store: str) -> "subprocess.Popen[str]":
    """Run a pipeline in a process of its own, which can be killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = ["run", file, "--engine", "inline", "--store", store, "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
