"""A step that refines: what it refuses, all at once, and where."""

from pathlib import Path

import pytest

from schemas.faults import PipelineInvalid
from schemas.pipeline import load

HEAD = """\
name: refining
steps:
  flow:
    task: generate
    system: {kind: navier_stokes, points: 16}
    samples: 4
    steps: 8
    split: {sample: {train: 2, test: 2}}
  map:
    task: train
    data: flow
    mapping: {given: 3, predicted: 4}
    model: {kind: sfno, modes: 6, width: 4, layers: 1, latent_steps: 8}
  dynamics:
    task: train
    data: flow
    model: {kind: fno, modes: 6, width: 4, layers: 1}
  coarse:
    task: generate
    system: {kind: navier_stokes, points: 8}
    samples: 4
    steps: 8
"""
GOOD = """\
  refined:
    task: refine
    model: map
    data: flow.test
    system: flow.system
    expect: [rel_l2(refined) <= rel_l2(predicted), seconds(refined) <= seconds(training)]
"""
FAULTY = """\
  forecast:
    task: refine
    model: dynamics
    data: flow.test
    system: flow.system
  waves:
    task: refine
    model: map
    data: flow.test
    system: flow.system
    methods:
      predicted: spectral_refiner
      long: {kind: spectral_refiner, time_modes: 7}
      fine: {kind: spectral_refiner, modes: 20}
    expect: [rel_l2(refined) <= 1, error(long) <= 1]
  other:
    task: refine
    model: map
    data: flow.test
    system: coarse.system
  model_for_system:
    task: refine
    model: map
    data: flow.test
    system: dynamics
"""
WORDS = [
    "steps.forecast.model: 'dynamics' is no map from records to those after them",
    "steps.waves.methods.predicted: 'predicted' is the name of another subject",
    "steps.waves.methods.long.time_modes: 7 is above 6, the waves of 4 frames; lower it",
    "steps.waves.methods.fine.modes: 20 is above 16, the points of axis 'y'; lower it",
    "steps.waves.expect.0: unknown subject 'refined'",
    "steps.waves.expect.1: unknown metric 'error'",
    "steps.other.system: 'coarse.system' forecasts a grid (8, 8), the data have (16, 16)",
    "steps.model_for_system.system: 'dynamics' is no system; write `<step>.system`",
]


def test_a_step_that_refines_a_map_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(HEAD + GOOD)
    assert set(load(file).pipeline.steps) == {"flow", "map", "dynamics", "coarse", "refined"}


def test_every_fault_of_a_refinement_is_found_at_once(tmp_path: Path) -> None:
    file = tmp_path / "faulty.yaml"
    file.write_text(HEAD + FAULTY)
    with pytest.raises(PipelineInvalid) as caught:
        load(file)
    text = str(caught.value)
    assert [words for words in WORDS if words not in text] == []


LOSS = """\
name: residual
steps:
  darcy:
    task: generate
    system: {kind: darcy, points: 16}
    samples: 4
  fno:
    task: train
    data: darcy
    mapping: {inputs: [coefficient], outputs: [u]}
    model: {kind: fno, modes: 4, width: 4, layers: 1}
    training: {epochs: 1, loss: {kind: physics_residual, weight: 0.1, system: {kind: darcy, points: POINTS}}}
"""


def test_a_residual_loss_is_named_in_a_pipeline_and_checked_against_the_data(tmp_path: Path) -> None:
    file = tmp_path / "loss.yaml"
    file.write_text(LOSS.replace("POINTS", "16"))
    load(file)
    file.write_text(LOSS.replace("POINTS", "32"))
    with pytest.raises(
        PipelineInvalid, match=r"loss\.system: has a grid \(32, 32\), the data have \(16, 16\)"
    ):
        load(file)
