"""Generated data from YAML to store: what stationary, drawn and evolving systems leave, and its size."""

from pathlib import Path

import pytest
import torch

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out
from koopcast.stores.files import open_data

PIPELINE = """\
name: data
seed: 3
threads: 2
steps:
  darcy:
    task: generate
    system: {kind: darcy, points: 33}
    parameters: {source: [1, 2]}
    design: sobol
    samples: 128
    block: 32
    split: {sample: {train: 96, test: 32}}
  signal: {task: generate, system: {kind: dynamic_signal, patches: 16, patch_size: 16}, samples: 512}
  waves:
    task: generate
    system: {kind: kuramoto_sivashinsky, points: 48}
    every_point: 2
    dt: 0.25
    burn_in: 10
    steps: 200
    samples: 30
    block: 10
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, dict[str, int]]:
    folder = tmp_path_factory.mktemp("generation")
    (folder / "p.yaml").write_text(PIPELINE)
    request = Request(pipeline=str(folder / "p.yaml"), overrides=[], store=str(folder / "store"))
    prepared = prepare(request)
    costs = {step.name: step.cost.disk for step in prepared.plan.steps if step.cost is not None}
    return carry_out(prepared, InlineEngine(), Silent()), costs


def test_solutions_have_their_parameters_and_residuals_and_no_time(
    made: tuple[RunResult, dict[str, int]],
) -> None:
    assert made[0].state == "done"
    data = open_data(Path(str(made[0].steps["darcy"].artefact)))
    assert data.dataset["u"].dims == ("sample", "y", "x")
    assert data.part("test").tensor().shape == (32, 1, 33, 33, 2)
    assert set(data.dataset.data_vars) == {
        "coefficient", "u", "source", "residual", "iterations", "applications",
    }  # fmt: skip
    attributes = data.dataset.attrs
    assert attributes["solver"] == "auto"
    assert attributes["reason"].startswith("direct: ")
    assert {"equation", "system", "parameters", "design", "grid", "tolerances", "seed", "versions"} <= set(
        attributes
    )
    assert float(data.dataset["residual"].max()) < 1e-8


def test_draws_are_kept_as_they_are(made: tuple[RunResult, dict[str, int]]) -> None:
    data = open_data(Path(str(made[0].steps["signal"].artefact)))
    assert data.tensor().shape == (512, 1, 256, 2)
    assert set(data.tensor()[..., 1].unique().tolist()) == {-1.0, 1.0}


def test_trajectories_keep_their_time_and_the_drift_of_their_invariants(
    made: tuple[RunResult, dict[str, int]],
) -> None:
    data = open_data(Path(str(made[0].steps["waves"].artefact)))
    assert data.dataset["u"].dims == ("sample", "time", "x")
    assert torch.isfinite(data.tensor()).all()
    assert float(data.dataset["defect"].max()) < 1e-12


@pytest.mark.parametrize("step", ["darcy", "signal", "waves"])
def test_the_plan_predicts_the_bytes_on_disk_to_one_percent(
    made: tuple[RunResult, dict[str, int]], step: str
) -> None:
    result, costs = made
    folder = Path(str(result.steps[step].artefact))
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert costs[step] == pytest.approx(stored, rel=0.01)
