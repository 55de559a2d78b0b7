"""Choices of training pairs and of sites that are refused before anything runs, with their place."""

from pathlib import Path

import pytest

from schemas.faults import PipelineInvalid
from schemas.pipeline import load

VALID = (Path(__file__).parent / "data" / "twin.yaml").read_text(encoding="utf-8")
FITTED = "model: {kind: edmd, rank: 8, delays: 2}\n"
SITES = "{kind: random, count: 20}"


def loaded(tmp_path: Path, old: str, new: str) -> list[str]:
    assert old in VALID
    path = tmp_path / "p.yaml"
    path.write_text(VALID.replace(old, new, 1))
    try:
        load(path)
    except PipelineInvalid as error:
        return [str(fault).split("p.yaml:")[1] for fault in error.faults]
    return []


def subset(options: str) -> str:
    return f"{FITTED}    subset: {options}\n"


# 2 samples of 200 records; states of 2 frames and the one after: 2 · 198 runs.
@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        ("{count: 397}", "14:21  steps.dynamics.subset.count", "397 is above 396, the runs of 3 frames"),
        ("{count: 0}", "14:21  steps.dynamics.subset.count", "must be above 0, was given 0"),
        ("{count: 50, modes: 41}", "14:32  steps.dynamics.subset.modes", "41 is above 40"),
        ("{count: 50, sampler: sobol}", "14:34  steps.dynamics.subset.sampler", "chooses no rows"),
        ("{count: 5, modes: 9, sampler: dpp}", "14:21  steps.dynamics.subset.count", "9"),
        ("{sampler: iid}", "14:5  steps.dynamics.subset", "`count` is required"),
    ],
)
def test_a_subset_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, options: str, place: str, words: str
) -> None:
    (fault,) = loaded(tmp_path, FITTED, subset(options))
    assert fault.partition(": ")[0] == place
    assert words in fault


@pytest.mark.parametrize("kind", ["opt_dmd", "mr_dmd", "gedmd"])
def test_a_model_of_whole_trajectories_takes_no_subset(tmp_path: Path, kind: str) -> None:
    (fault,) = loaded(tmp_path, FITTED, f"model: {{kind: {kind}, rank: 8}}\n    subset: {{count: 50}}\n")
    assert fault.partition(": ")[0] == "14:5  steps.dynamics.subset"
    assert f"'{kind}' learns from whole trajectories" in fault


def test_a_subset_and_sampled_sites_that_can_be_are_accepted(tmp_path: Path) -> None:
    assert loaded(tmp_path, FITTED, subset("{count: 396, sampler: {kind: christoffel}, modes: 20}")) == []
    assert loaded(tmp_path, "training: {epochs: 2}", "subset: {count: 398}") == []
    assert loaded(tmp_path, SITES, "sampled") == []


def test_a_rollout_takes_longer_runs_from_the_choice(tmp_path: Path) -> None:
    options = "training: {epochs: 2, rollout: 4}\n    subset: {count: 393}"
    (fault,) = loaded(tmp_path, "training: {epochs: 2}", options)
    assert "393 is above 392, the runs of 5 frames" in fault


def test_more_sampled_sites_than_points_are_refused_with_their_place(tmp_path: Path) -> None:
    (fault,) = loaded(tmp_path, SITES, "{kind: sampled, count: 41}")
    assert fault.startswith("18:71  steps.analysis.observations.locations.count: 41 sites on a grid of 40")
