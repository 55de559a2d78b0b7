"""A refinement through a whole run: scores, refined frames, history; and a loss with an equation."""

from pathlib import Path

import pytest
import xarray as xr

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out
from koopcast.stores.files import read_table

PIPELINE = """\
name: refining
description: Predicted vorticity, made to obey its equation.
seed: 3
threads: 1
steps:
  flow:
    task: generate
    system: {kind: navier_stokes, points: 16}
    samples: 5
    dt: 0.02
    record_every: 5
    steps: 8
    tail_tol: 1.0
    split: {sample: {train: 2, valid: 1, test: 2}}
  map:
    task: train
    data: flow
    mapping: {given: 3, predicted: 4}
    model: {kind: sfno, modes: 6, width: 4, layers: 1, latent_steps: 8}
    training:
      epochs: 1
      loss: {kind: physics_residual, system: {kind: navier_stokes, points: 16}}
  refined:
    task: refine
    model: map
    data: flow.test
    system: flow.system
    methods:
      bias: {kind: spectral_refiner, iterations: 20}
      weights: {kind: spectral_refiner, iterations: 10, parameters: all}
    expect:
      - rel_l2(bias) <= 0.2 * rel_l2(predicted)
      - residual_dual_norm(weights) <= residual_dual_norm(predicted)
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("refining")
    file = folder / "refining.yaml"
    file.write_text(PIPELINE)
    return carry_out(
        prepare(Request(pipeline=str(file), store=str(folder / "store"))), InlineEngine(), Silent()
    )


def test_the_run_ends_with_its_conditions_held(result: RunResult) -> None:
    assert result.explanation() == ""
    assert result.state == "done"
    assert [gate.holds for gate in result.expect] == [True, True]
    assert result.scores["seconds"]["training"]["all"] > 0


def test_the_artefact_holds_refined_frames_and_the_way_there(result: RunResult) -> None:
    folder = Path(str(result.steps["refined"].artefact))
    frames = xr.open_zarr(folder / "refined.zarr", group="bias", consolidated=False)
    assert dict(frames.sizes) == {"sample": 2, "time": 4, "y": 16, "x": 16}
    assert frames["time"].values == pytest.approx([0.3, 0.4, 0.5, 0.6])
    history = read_table(folder / "tables" / "history.parquet")
    assert history.groupby("method")["iteration"].max().to_dict() == {"bias": 20, "weights": 10}
