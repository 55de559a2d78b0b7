"""Maps in the language: what a train step may learn, and where a map may be used."""

from typing import Any

import pytest
import yaml

from schemas.faults import PipelineInvalid
from schemas.pipeline import load

BASE = """\
name: maps
steps:
  darcy:
    task: generate
    system: {kind: darcy, points: 16}
    samples: 20
    split: {sample: {train: 12, valid: 4, test: 4}}
  finer:
    task: generate
    system: {kind: darcy, points: 32}
    samples: 4
  waves:
    task: generate
    system: {kind: kuramoto_sivashinsky, points: 32}
    samples: 4
    steps: 20
    split: {sample: {train: 2, test: 2}}
  fno:
    task: train
    data: darcy
    mapping: {inputs: [coefficient], outputs: [u]}
    model: {kind: fno, modes: 8, width: 8}
  steps_of_waves:
    task: train
    data: waves
    model: {kind: fno, modes: 8, width: 8}
  scores:
    task: evaluate
    of: [fno]
    beside: {fine: finer}
    metrics: [rel_l2, parameters]
    expect: [rel_l2(fno.fine) < 2 * rel_l2(fno)]
"""


def faults(tmp_path: Any, changes: dict[str, Any]) -> list[str]:
    """Return the faults of the pipeline with some values replaced, by path."""
    document = yaml.safe_load(BASE)
    for path, value in changes.items():
        *above, last = path.split(".")
        place = document["steps"]
        for name in above:
            place = place[name]
        place[last] = value
    file = tmp_path / "maps.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    try:
        load(file)
    except PipelineInvalid as error:
        return [str(fault) for fault in error.faults]
    return []


def test_a_map_is_learned_and_scored_on_its_own_grid_and_on_another(tmp_path: Any) -> None:
    assert faults(tmp_path, {}) == []


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"fno.mapping": None}, "steps.fno.data", "say under `mapping` what it maps to what"),
        (
            {"fno.mapping": {"inputs": ["permeability"], "outputs": ["u"]}},
            "steps.fno.mapping.inputs.0",
            "no variable 'permeability' (there are: coefficient, u)",
        ),
        ({"fno.mapping": {"inputs": ["u"]}}, "steps.fno.mapping", "given and asked for at the same times"),
        ({"fno.model.history": 2}, "steps.fno.model.history", "a map is given what `mapping.given` says"),
        ({"fno.training": {"rollout": 2}}, "steps.fno.training.rollout", "rolls nothing out"),
        (
            {"steps_of_waves.model": "koopman_ae", "steps_of_waves.training": {"rollout": 2}},
            "steps.steps_of_waves.training.rollout",
            "lays out its training windows itself and takes no `rollout`",
        ),
        ({"fno.model.modes": 9}, "steps.fno.model.modes", "above 8, the Nyquist limit"),
        (
            {"fno.training": {"multi_resolution": {"grids": [16, 7], "batch_sizes": [4, 4]}}},
            "steps.fno.training.multi_resolution.grids.1",
            "7 points are not reached",
        ),
        (
            {"fno.training": {"multi_resolution": {"grids": [16, 4], "batch_sizes": [4]}}},
            "steps.fno.training.multi_resolution",
            "give as many of both",
        ),
        (
            {"fno.model": {"kind": "fno", "modes": 8, "normalize_output": "pixel"}},
            "steps.scores.beside.fine",
            "works there alone",
        ),
        (
            {"steps_of_waves.model": {"kind": "fno", "normalize_output": "pixel"}},
            "steps.steps_of_waves.model.normalize_output",
            "has no `pixel` form",
        ),
        (
            {"steps_of_waves.model": "edmd", "steps_of_waves.mapping": {"given": 1, "predicted": 2}},
            "steps.steps_of_waves.mapping",
            "learns what follows what",
        ),
        ({"scores.leads": [1]}, "steps.scores.leads", "returns all its records at once"),
        ({"scores.against": ["persistence"]}, "steps.scores.against.0", "train linear_map"),
        (
            {"scores.of": ["fno", "steps_of_waves"], "scores.data": "darcy.test"},
            "steps.scores.of.1",
            "score them in two steps",
        ),
        ({"scores.beside": {"waves": "waves"}}, "steps.scores.beside.waves", "needs 'coefficient'"),
        ({"scores.beside": {"fine": "fno"}}, "steps.scores.beside.fine", "expected a dataset"),
        (
            {"scores.expect": ["rel_l2(fno.coarse) < 1"]},
            "steps.scores.expect.0",
            "unknown subject 'fno.coarse'",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_where_it_stands(
    tmp_path: Any, changes: dict[str, Any], place: str, words: str
) -> None:
    found = [fault for fault in faults(tmp_path, changes) if f"  {place}: " in fault]
    assert any(words in fault for fault in found)


def test_a_map_forecasts_nothing_and_is_refused_by_a_filter(tmp_path: Any) -> None:
    step = {
        "task": "assimilate",
        "model": "fno",
        "data": "waves.test",
        "observations": {"kind": "synthetic", "locations": "all", "error": {"std": 0.1}},
        "method": "etkf",
    }
    (fault,) = faults(tmp_path, {"analysis": step})
    assert "steps.analysis.model: 'fno' maps fields to others and forecasts nothing" in fault
