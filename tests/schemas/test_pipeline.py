"""From a file to a checked pipeline, and what it knows then."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from koopcast.errors import InvalidInput
from schemas.check import Earlier
from schemas.faults import PipelineInvalid
from schemas.init import init
from schemas.jsonschema import to_text
from schemas.load import is_cycle
from schemas.pipeline import load

TWIN = Path(__file__).parent / "data" / "twin.yaml"
SHIPPED = sorted(
    path for path in (Path(__file__).parents[2] / "pipelines").rglob("*.yaml") if not is_cycle(path)
)


def test_shapes_and_parts_flow_through_the_steps() -> None:
    contracts = load(TWIN).findings.contracts
    assert contracts["truth"].fields.samples == 2
    assert contracts["truth"].fields.time.step == pytest.approx(0.05)
    assert contracts["truth"].part("test").fields.time.size == 100
    assert contracts["truth"].part("test").begin == 200
    assert contracts["dynamics"].history == 2
    assert contracts["analysis"].members == 10
    assert contracts["perfect"].members == 1  # keep: mean


def test_the_truth_of_a_score_is_filled_in() -> None:
    assert str(load(TWIN).pipeline.steps["scores"].data) == "truth.test"


def test_a_model_of_other_fields_is_refused(tmp_path: Path) -> None:
    text = TWIN.read_text().replace(
        "  dynamics:\n", "  other: {task: generate, system: {kind: lorenz96, points: 36}}\n  dynamics:\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PipelineInvalid) as caught:
        load(tmp_path / "p.yaml", ["steps.perfect.model=other.system"])
    assert "'other.system' forecasts a grid (36,), the data have (40,); use a model of these data" in str(
        caught.value
    )
    with pytest.raises(PipelineInvalid) as caught:
        load(
            tmp_path / "p.yaml",
            ["steps.other.system.points=40", "steps.other.dt=0.1", "steps.perfect.model=other.system"],
        )
    assert "has a step of 0.1 1, a record of the data is 0.05 1" in str(caught.value)


INGEST = """\
name: real
steps:
  data:
    task: ingest
    source: {kind: netcdf, path: fields.nc}
    variables: [t]
"""


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    time = np.arange("2000-01", "2000-07", dtype="datetime64[M]").astype("datetime64[ns]")
    values = np.zeros((6, 3, 4), dtype=np.float32)
    coords = {"time": time, "latitude": [0.0, 1.0, 2.0], "longitude": [0.0, 90.0, 180.0, 270.0]}
    dataset = xr.Dataset({"t": (("time", "latitude", "longitude"), values, {"units": "K"})}, coords=coords)
    dataset.to_netcdf(folder / "fields.nc", engine="netcdf4")
    return folder


@pytest.mark.parametrize(
    ("option", "place", "words"),
    [
        ("units: {t: bananas}", "7:16  steps.data.units.t", "unknown unit 'bananas'"),
        ("units: {t: m}", "7:16  steps.data.units.t", "'K' cannot be converted to 'm'"),
        ("units: {x: K}", "7:5  steps.data.units", "names 'x', which is not ingested; variables: t"),
        ("select: {latitude: [50, 60]}", "7:5  steps.data.select", "holds nothing of 0..2; widen it"),
        ("split: {time: {train: ..1999}}", "7:27  steps.data.split.time.train", "change `split.time.train`"),
        ("split: {time: {train: ..2000-13}}", "7:27  steps.data.split.time.train", "'2000-13' is not a date"),
        ("split: {time: {train: ..2000-03, test: 2000-03..}}", "7:5  steps.data.split", "share 1 records"),
        (
            "split: {time: {train: 0.5, test: 3}}",
            "7:13  steps.data.split.time",
            "mixes ranges, shares and counts",
        ),
        (
            "split: {sample: {train: 0.8, test: 0.2}}",
            "7:40  steps.data.split.sample.test",
            "holds nothing of it",
        ),
        ("mask: no", "7:11  steps.data.mask", "did you mean 'none'? (allowed: auto, none)"),
    ],
)
def test_a_fault_of_real_data_is_placed_at_its_option(
    fields: Path, option: str, place: str, words: str
) -> None:
    (fields / "p.yaml").write_text(f"{INGEST}    {option}\n")
    with pytest.raises(PipelineInvalid) as caught:
        load(fields / "p.yaml")
    (fault,) = caught.value.faults
    assert str(fault).startswith(f"{fields / 'p.yaml'}:{place}: ")
    assert words in fault.message


def test_a_relative_path_starts_from_the_file_that_writes_it(
    fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fields / "base.yaml").write_text(INGEST)
    (tmp_path / "p.yaml").write_text(f"extends: {fields / 'base.yaml'}\nname: other\n")
    monkeypatch.chdir("/")
    assert load(tmp_path / "p.yaml").findings.contracts["data"].fields.shape == (3, 4)
    with pytest.raises(PipelineInvalid, match=re.escape(f"{tmp_path / 'fields.nc'}' does not exist")):
        load(tmp_path / "p.yaml", ["steps.data.source.path=fields.nc"])


def test_real_data_are_described_without_reading_them(fields: Path) -> None:
    (fields / "p.yaml").write_text(f"{INGEST}    split: {{time: {{train: ..2000-04, test: 2000-05..}}}}\n")
    contract = load(fields / "p.yaml").findings.contracts["data"]
    assert contract.fields.shape == (3, 4)
    assert contract.part("test").fields.time.size == 2


def test_an_artefact_of_an_earlier_run_is_checked_like_a_step() -> None:
    known = load(TWIN).findings.contracts
    override = ["steps.perfect.model=runs://twin/latest/dynamics"]
    assert "perfect" not in load(TWIN, override).findings.contracts
    with pytest.raises(PipelineInvalid, match="remove `localization`"):
        load(TWIN, override, lambda ref: Earlier(known["dynamics"], "k"))
    with pytest.raises(PipelineInvalid, match="is a dataset, expected a model; name another step"):
        load(TWIN, override, lambda ref: Earlier(known["truth"], "k"))


def test_a_later_error_finds_its_line() -> None:
    fault = load(TWIN).fault(("steps", "dynamics", "model", "rank"), "is too high")
    assert (fault.line, fault.column) == (13, 31)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_pipeline_is_valid_in_under_a_second(path: Path) -> None:
    if "pkg://iris_sample_data" in path.read_text():
        pytest.importorskip("iris_sample_data", reason="the example data are an extra")
    load(path)
    start = time.perf_counter()
    load(path)
    assert time.perf_counter() - start < 1


def test_init_writes_a_valid_pipeline_and_overwrites_nothing(tmp_path: Path) -> None:
    files = init(tmp_path / "new")
    assert sorted(file.name for file in files) == ["README.md", "lorenz96.yaml", "pipeline.schema.json"]
    assert load(tmp_path / "new" / "lorenz96.yaml").pipeline.name == "lorenz96-twin"
    (tmp_path / "new" / "lorenz96.yaml").write_text("mine")
    with pytest.raises(
        InvalidInput, match=r"already holds README\.md, lorenz96\.yaml, pipeline\.schema\.json"
    ):
        init(tmp_path / "new")
    assert (tmp_path / "new" / "lorenz96.yaml").read_text() == "mine"


def test_the_json_schema_is_small_and_has_words_for_every_option() -> None:
    text = to_text()
    assert len(text) < 1_000_000
    assert '"description": "Observation times that are left out of scores."' in text


def test_the_grammar_knows_no_orchestrator() -> None:
    code = "import sys, schemas.plan, schemas.drawing, schemas.jsonschema; sys.exit('prefect' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode
        == 0
    )
