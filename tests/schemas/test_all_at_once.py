from pathlib import Path

import pytest

from schemas.faults import PipelineInvalid
from schemas.pipeline import load

MANY = """\
name: many
steps:
  truth:
    task: generate
    system: lorenz96
    split: {time: {train: ..20, test: 20.05..}}
  model:
    task: train
    data: thruth
    model: {kind: edmd, rnak: 8}
  analysis:
    task: assimilate
    model: modle
    data: truth.tests
    observations: {kind: synthetic, locations: all, error: {std: 0.3}}
    method: {kind: letkf, members: 1}
  scores:
    task: evaluate
    of: [model, truth]
    expect: [rmse(model) < 1, "rmse(model) <"]
"""


def test_references_and_conditions_of_faulty_steps_are_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    file.write_text(MANY)
    with pytest.raises(PipelineInvalid) as caught:
        load(file)
    assert [(fault.line, fault.path) for fault in caught.value.faults] == [
        (9, "steps.model.data"),
        (10, "steps.model.model.rnak"),
        (13, "steps.analysis.model"),
        (14, "steps.analysis.data"),
        (16, "steps.analysis.method.members"),
        (19, "steps.scores.of.1"),
        (20, "steps.scores.expect.1"),
    ]
    words = ["'truth'?", "'rank'?", "'model'?", "'test'?", "at least 2", "truth.system", "found the end"]
    for word, fault in zip(words, caught.value.faults, strict=True):
        assert word in fault.message
