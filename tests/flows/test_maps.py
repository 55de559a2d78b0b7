"""Maps through a whole run: repeats, other grids, several processes, and a trained model in use."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

import koopcast
from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out
from flows.use import predict
from koopcast.errors import InvalidInput, MissingFile

PIPELINE = """\
name: maps
description: The solution of Darcy flow from its permeability, on two grids.
seed: 3
threads: 1
steps:
  darcy:
    task: generate
    system: {kind: darcy, points: 9}
    samples: 24
    split: {sample: {train: 16, valid: 4, test: 4}}
  finer:
    task: generate
    system: {kind: darcy, points: 17}
    samples: 4
  solution:
    task: train
    data: darcy
    mapping: {inputs: [coefficient], outputs: [u]}
    model: {kind: fno, modes: 4, width: 4, layers: 1}
    repeats: 2
    training: {epochs: 2, batch_size: 4, micro_batch: 2}
  scores:
    task: evaluate
    of: [solution]
    beside: {fine: finer, train: darcy.train}
    metrics: [rel_l2, rmse, parameters]
    expect:
      - rel_l2(solution.fine) < 3 * rel_l2(solution.train)
"""

Go = Callable[..., RunResult]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Run the pipeline in this process."""
    file = tmp_path / "maps.yaml"
    file.write_text(PIPELINE)

    def run(*overrides: str, **options: object) -> RunResult:
        root = str(options.pop("store", tmp_path / "store"))
        request = Request.model_validate(
            {"pipeline": str(file), "overrides": list(overrides), "store": root, **options}
        )
        return carry_out(prepare(request), InlineEngine(), Silent())

    return run


def tensors(result: RunResult) -> dict[str, torch.Tensor]:
    return load_file(Path(str(result.steps["solution"].artefact)) / "model.safetensors")


def test_scores_are_means_over_the_trainings_on_every_dataset(go: Go) -> None:
    result = go()
    assert result.explanation() == ""
    assert result.state in ("done", "expectation_failed")
    both = result.scores["rel_l2"]
    assert set(both) == {"solution", "solution.fine", "solution.train"}
    first = go("steps.solution.repeats=1").scores["rel_l2"]
    assert both["solution"]["all"] != pytest.approx(first["solution"]["all"], rel=1e-6)
    assert result.scores["parameters"]["solution.fine"] == result.scores["parameters"]["solution"]
    report = Path(str(result.report)).read_text(encoding="utf-8")
    assert "Maps of fields" in report


def test_two_processes_leave_the_weights_of_one(go: Go, tmp_path: Path) -> None:
    # One process that adds the gradients of two halves of a batch does what two do with a half each.
    alone = tensors(go("steps.solution.repeats=1"))
    shared = tensors(go("steps.solution.repeats=1", "steps.solution.training.processes=2"))
    assert alone.keys() == shared.keys()
    assert all(torch.equal(alone[name], shared[name]) for name in alone)


@pytest.mark.slow
def test_what_a_process_refuses_is_told_as_by_one(go: Go) -> None:
    wild = "steps.solution.training.optimizer={kind: adamw, learning_rate: 1.0e+30}"
    options = ("steps.solution.repeats=1", "steps.solution.training.grad_clip=null", wild)
    alone, shared = go(*options), go(*options, "steps.solution.training.processes=2")
    assert "learning rate" in str(alone.steps["solution"].message)
    assert "learning rate" in str(shared.steps["solution"].message)


def test_a_trained_map_predicts_on_another_grid_from_the_command_line_and_a_notebook(
    go: Go, tmp_path: Path
) -> None:
    go("steps.solution.repeats=1")
    root, address = str(tmp_path / "store"), "runs://maps/latest/solution"
    said = predict(address, "runs://maps/latest/finer", [1], None, tmp_path / "out.nc", root)
    assert "u (sample 4, y 17, x 17)" in said
    predict(address, "runs://maps/latest/darcy.test", [1], None, tmp_path / "out.zarr", root)
    written = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)
    assert written["u"].shape == (4, 9, 9)
    model = koopcast.load(address, root)
    data = written.rename(u="coefficient")
    assert model.predict(data)["u"].dims == ("sample", "y", "x")
    assert model.predict(data.isel(sample=0))["u"].dims == ("y", "x")
    with pytest.raises(InvalidInput, match="is there already"):
        predict(address, "runs://maps/latest/darcy", [1], None, tmp_path / "out.nc", root)
    with pytest.raises(InvalidInput, match="no known format"):
        predict(address, "runs://maps/latest/darcy", [1], None, tmp_path / "out.csv", root)
    with pytest.raises(MissingFile, match="there is no"):
        predict(address, str(tmp_path / "none.zarr"), [1], None, tmp_path / "more.nc", root)
    with pytest.raises(InvalidInput, match="is a dataset, no model"):
        koopcast.load("runs://maps/latest/darcy", root)


def test_an_exported_program_computes_what_the_model_computes(go: Go, tmp_path: Path) -> None:
    go("steps.solution.repeats=1")
    root, address = str(tmp_path / "store"), "runs://maps/latest/solution"
    # In a process of its own: the checks of shapes that tests run under would fix the batch while tracing.
    command = [sys.executable, "-m", "flows.cli", "export", address, "-o", str(tmp_path / "model.pt2")]
    done = subprocess.run([*command, "--store", root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    program = torch.export.load(tmp_path / "model.pt2").module()
    fields = torch.rand(5, 1, 9, 9, 1, generator=torch.Generator().manual_seed(0))
    model = koopcast.load(address, root).model
    with torch.no_grad():
        assert torch.allclose(program(fields), model.predict(fields), atol=1e-6)
