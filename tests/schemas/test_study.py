"""A step that studies: what it refuses, all at once, and where."""

from pathlib import Path

import pytest

from schemas.faults import PipelineInvalid
from schemas.pipeline import load

FAULTY = """\
name: faults
steps:
  bandit:
    task: study
    study: {kind: relaxation, samples: 40}
    expect:
      - last(chebcb, n=30) <= 1
      - lost(chebcb, n=40) <= 1
      - last(best_fixed) <= 2
  solvers:
    task: study
    study:
      kind: solvers
      system: {kind: helmholtz, points: 33}
      solvers: {pcg: {kind: cg, preconditioner: ic}, lu: direct}
  other:
    task: study
    study: {kind: solvers, system: lorenz63}
  points:
    task: study
    study: {kind: least_squares, sizes: [5], samplers: {dpp: dpp}}
  forecast:
    task: evaluate
    of: [bandit]
"""
WORDS = [
    "7:9  steps.bandit.expect.0: 'chebcb' has no score at size 30, its sizes are 10, 20, 40; use one of them",
    "8:9  steps.bandit.expect.1: unknown metric 'lost'; did you mean 'last'?",
    "9:9  steps.bandit.expect.2: 'best_fixed' has a score at each size",
    "15:7  steps.solvers.study.solvers: 'pcg' does not suit helmholtz",
    "18:36  steps.other.study.system: lorenz63 poses no linear systems; take a stationary one",
    "21:41  steps.points.study.sizes: 'dpp' meets none of them: dpp draws one row a feature, 20, not 5",
    "24:10  steps.forecast.of.0: 'bandit' is a table of scores, expected a model or an analysis",
]


def test_every_fault_of_a_study_is_found_at_once(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(FAULTY)
    with pytest.raises(PipelineInvalid) as caught:
        load(file)
    text = str(caught.value)
    assert [words for words in WORDS if words not in text] == []
    assert text.count(str(file)) == len(WORDS)
