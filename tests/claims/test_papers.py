"""The headline claim of each paper, and published scores of twin experiments, as pipelines gate them."""

from pathlib import Path

import pytest

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request
from flows.run import carry_out

PIPELINES = Path(__file__).parents[2] / "pipelines"
PAPERS = sorted(file for folder in ("papers", "twins") for file in (PIPELINES / folder).glob("*.yaml"))


@pytest.mark.claim
@pytest.mark.parametrize("file", PAPERS, ids=lambda file: file.stem)
def test_every_condition_of_a_paper_holds(file: Path, tmp_path: Path) -> None:
    prepared = prepare(Request(pipeline=str(file), store=str(tmp_path / "store")))
    result = carry_out(prepared, InlineEngine(), Silent())
    assert result.expect, "a paper without a condition claims nothing"
    assert result.state == "done", result.explanation()
    assert [(gate.text, gate.value) for gate in result.expect if not gate.holds] == []
