"""Eigenfunctions that an evaluation keeps beside its scores."""

from pathlib import Path

import numpy as np
import pytest

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out
from koopcast.stores.arrays import open_fields
from schemas.faults import PipelineInvalid
from tasks.evaluate import EIGENFUNCTIONS

PIPELINE = """
name: circle
seed: 1
steps:
  turns:
    task: generate
    system: circle_rotation
    samples: 12
    steps: 20
    split: {sample: {train: 8, test: 4}}
  model: {task: train, data: turns, model: {kind: dmd, center: false, ridge: 0, rank: 2}}
  analysis:
    task: assimilate
    model: turns.system
    data: turns.test
    observations: {kind: synthetic, locations: all, error: {std: 0.1}}
    method: {kind: etkf, members: 4}
  scores: {task: evaluate, of: SUBJECT, data: turns.test, metrics: [rmse], eigenfunctions: true}
"""


def _run(tmp_path: Path, subject: str) -> RunResult:
    file = tmp_path / "circle.yaml"
    file.write_text(PIPELINE.replace("SUBJECT", subject))
    prepared = prepare(Request(pipeline=str(file), store=str(tmp_path / "store")))
    return carry_out(prepared, InlineEngine(), Silent())


def test_the_eigenfunctions_of_a_rotation_are_kept_and_drawn(tmp_path: Path) -> None:
    result = _run(tmp_path, "[model, analysis]")
    assert result.state == "done", result.explanation()
    path = Path(str(result.steps["scores"].artefact)) / EIGENFUNCTIONS
    found = open_fields(path, group="model")
    phi, value = found["eigenfunction"].values, found["eigenvalue"].values
    assert phi.shape == (4, 20, 2)
    assert np.allclose(phi[:, 1:], value * phi[:, :-1], atol=1e-6)
    assert [folder.name for folder in path.iterdir() if folder.is_dir()] == ["model"]
    assert list((tmp_path / "store").rglob("scores-model-eigenfunctions.svg"))


def test_subjects_that_have_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineInvalid, match="`of` holds no model that steps in time"):
        _run(tmp_path, "[analysis]")
    result = _run(tmp_path, "[turns.system]")
    assert "eigenfunctions: turns.system step in time without a linear map" in result.explanation()
