"""Records that an assimilation keeps and scores."""

import re
from pathlib import Path

import numpy as np
import pytest

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import carry_out
from koopcast.stores.arrays import open_fields
from koopcast.stores.files import read_table
from schemas.faults import PipelineInvalid
from tasks.assimilate import ANALYSIS, CYCLES, DEPARTURES, OBSERVATIONS
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


TYPES = """
name: types
seed: 2
steps:
  ring:
    task: generate
    system: {kind: lorenz96, points: 12}
    samples: 2
    steps: 80
    burn_in: 100
    split: {sample: {train: 1, test: 1}}
  analysis:
    task: assimilate
    model: ring.system
    data: ring.test
    observations:
      kind: combined
      types:
        near:
          kind: synthetic
          locations: {kind: random, count: 9}
          operator: interpolate
          outliers: {share: 0.1, size: 20.0}
          qc: {background_check: 4.0, blacklist: [3]}
        wave: {kind: synthetic, operator: {kind: linear, matrix: MATRIX}, error: {std: 0.2}, every: 4}
    method: METHOD
    OPTION
    burn_in: 5
  scores:
    task: evaluate
    of: [analysis]
    against: [climatology]
    sectors: {low: {state: [0, 5]}}
    metrics: [{kind: rmse, average: time_mean}, chi_square, desroziers, log_score]
    expect:
      - rmse(analysis.low) < rmse(climatology.low)
      - chi_square(analysis) in [0.5, 2]
"""
ETKF = "{kind: etkf, members: 16, inflation: {kind: multiplicative, factor: 1.1}}"


def written(
    folder: Path, method: str = ETKF, matrix: str = "rows.csv", option: str = "keep: members"
) -> Path:
    (folder / "rows.csv").write_text(" ".join(["0.5"] * 12) + "\n")
    file = folder / "types.yaml"
    text = TYPES.replace("METHOD", method).replace("MATRIX", matrix).replace("OPTION", option)
    file.write_text(text)
    return file


def run(file: Path, folder: Path) -> RunResult:
    prepared = prepare(Request(pipeline=str(file), store=str(folder / "store")))
    return carry_out(prepared, InlineEngine(), Silent())


def test_each_observation_is_kept_with_its_type_and_the_reason_why_it_was_not_used(tmp_path: Path) -> None:
    result = run(written(tmp_path), tmp_path)
    assert result.state == "done", result.explanation()
    path = Path(str(result.steps["analysis"].artefact))
    kept = open_fields(path / OBSERVATIONS).load()
    meanings = kept["flag"].attrs["flag_meanings"].split()
    names = dict(zip(kept["flag"].attrs["flag_values"], meanings, strict=True))
    found = {names[number]: int((kept["flag"] == number).sum()) for number in names}
    times = kept.sizes["time"]
    assert found["blacklisted"] == times
    assert found["background_check"] > 0.05 * 8 * times
    # The matrix is seen at every fourth of the times; at the others there is nothing.
    assert found["absent"] == times - times // 4
    assert sum(found.values()) == 10 * times
    assert kept["type"].values.tolist() == [0] * 9 + [1]
    assert kept["type"].attrs["flag_meanings"] == "near wave"
    assert (kept["index"].isel(obs=9) == -1).all()
    rejected = kept["flag"] == meanings.index("background_check") - 1
    departure = abs(kept["value"] - kept["background"])
    assert float(departure.where(rejected).mean()) > 5
    rows = read_table(path / DEPARTURES)
    assert set(rows["type"]) == {"near", "wave"}
    assert "chi_square.wave" in result.scores
    cycles = read_table(path / CYCLES)
    assert (cycles["observations"] + cycles["rejected"]).isin([9, 10]).all()


def test_observations_without_a_place_are_not_localised(tmp_path: Path) -> None:
    file = written(tmp_path, "{kind: letkf, members: 8}")
    with pytest.raises(PipelineInvalid, match=r"wave have no place.*localization: none"):
        prepare(Request(pipeline=str(file), store=str(tmp_path / "store")))


def test_values_seen_through_an_operator_are_not_nudged_to(tmp_path: Path) -> None:
    with pytest.raises(PipelineInvalid, match="'nudging' takes values of cells alone"):
        prepare(Request(pipeline=str(written(tmp_path, "nudging")), store=str(tmp_path / "store")))


def test_a_matrix_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineInvalid, match="outside of the folder"):
        prepare(Request(pipeline=str(written(tmp_path, matrix="/etc/hosts")), store=str(tmp_path / "store")))


@pytest.mark.parametrize(
    ("method", "option", "said"),
    [
        ("{kind: ienks, members: 16}", "window: {records: 4}", "windows of its own"),
        (ETKF, "window: {records: 81}", "81 is above 79"),
        (ETKF, "window: {records: 4, first_guess: at_analysis}", "made between records"),
        (ETKF, "window: {records: 4}\n    records: all", "analysis times alone"),
    ],
)
def test_windows_that_cannot_be_are_refused(tmp_path: Path, method: str, option: str, said: str) -> None:
    file = written(tmp_path, method, option=option)
    file.write_text(
        file.read_text().replace("operator: interpolate", "operator: interpolate\n          early: 0.5")
    )
    with pytest.raises(PipelineInvalid, match=said):
        prepare(Request(pipeline=str(file), store=str(tmp_path / "store")))


def test_a_chain_that_fails_says_where_and_keeps_what_was_good(tmp_path: Path) -> None:
    blow_up = "{kind: etkf, members: 16, inflation: {kind: multiplicative, factor: 9.0}}"
    result = run(written(tmp_path, blow_up), tmp_path)
    assert result.state == "failed"
    text = result.steps["analysis"].message
    assert (found := re.search(r"observation time (\d+) of 79 \(experiments \[0\] of 1\)", text)), text
    assert "raise `inflation` or `members`" in text or "check the model" in text
    place = re.search(r"the (\d+) analyses before it are kept in '([^']+)'", text)
    assert place is not None, text
    assert int(place[1]) == int(found[1]) - 1
    kept = open_fields(Path(place[2]) / ANALYSIS, group="analysis")
    assert kept.sizes["time"] == int(place[1])
    assert bool(np.isfinite(kept["X"].values).all())
    assert len(read_table(Path(place[2]) / CYCLES)) == int(place[1])
