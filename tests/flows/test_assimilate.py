"""Records that an assimilation keeps and scores."""

from pathlib import Path

import pytest

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request
from flows.run import carry_out
from koopcast.stores.arrays import open_fields
from koopcast.stores.files import read_table
from schemas.faults import PipelineInvalid
from tasks.assimilate import ANALYSIS, CYCLES
from tasks.evaluate import SCORES

PIPELINE = """
name: sparse
seed: 1
steps:
  ring:
    task: generate
    system: {kind: lorenz96, points: 8}
    samples: 2
    steps: 30
    split: {sample: {train: 1, test: 1}}
  sparse: &sparse
    task: assimilate
    model: ring.system
    data: ring.test
    observations: {kind: synthetic, error: {std: 0.1}, warmup: 5, every: 10}
    method: METHOD
    initial: constant
  all: {<<: *sparse, records: all, burn_in: 5}
  scores: {task: evaluate, of: [sparse, all], metrics: [relative_mse]}
"""


def test_forecasts_between_observations_are_kept_and_scored_where_all_records_are(tmp_path: Path) -> None:
    file = tmp_path / "sparse.yaml"
    file.write_text(PIPELINE.replace("METHOD", "{kind: nudging, kappa: 1.0}"))
    prepared = prepare(Request(pipeline=str(file), store=str(tmp_path / "store")))
    result = carry_out(prepared, InlineEngine(), Silent())
    assert result.state == "done", result.explanation()
    paths = {name: Path(str(step.artefact)) for name, step in result.steps.items()}
    sparse, whole = (open_fields(paths[name] / ANALYSIS, group="analysis") for name in ("sparse", "all"))
    # Records 1 to 5, 15 and 25 are observed; of the 30 the first is the initial state.
    assert sparse.sizes["time"] == 7
    assert whole.sizes["time"] == 29
    kept = [0, 1, 2, 3, 4, 14, 24]
    assert (whole.isel(time=kept)["X"].values == sparse["X"].values).all()
    counts = read_table(paths["all"] / CYCLES)["observations"]
    assert counts[counts > 0].index.tolist() == kept
    assert result.scores["relative_mse"]["all"]["all"] > result.scores["relative_mse"]["sparse"]["all"]
    table = read_table(paths["scores"] / SCORES)
    cases = table[table["role"] == "analysis"].groupby("subject")["cases"].max()
    assert cases.to_dict() == {"sparse": 7, "all": 24}


def test_a_method_that_needs_a_gain_is_refused_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "sparse.yaml"
    file.write_text(PIPELINE.replace("METHOD", "noda"))
    with pytest.raises(PipelineInvalid, match="'noda' corrects with the gain of the forecast model"):
        prepare(Request(pipeline=str(file), store=str(tmp_path / "store")))
