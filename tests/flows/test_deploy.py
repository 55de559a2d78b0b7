"""What `koopcast deploy` registers: the schedule of a file, and a form of typed fields."""

from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.cycles import cycle
from flows.deploy import deployment
from flows.display import Silent
from flows.engines import InlineEngine
from flows.pipeline import pipeline
from flows.prepare import prepare
from flows.request import Request
from flows.run import carry_out
from koopcast.errors import InvalidInput
from schemas.faults import PipelineInvalid

RING = """
name: ring
seed: 1
steps:
  truth:
    task: generate
    system: {kind: lorenz96, points: 12}
    steps: 10
"""
CYCLE = """
name: hourly
model: runs://ring/latest/truth.system
observations: {kind: table, path: inbox/*.csv}
method: {kind: etkf, members: 4}
cycle: {start: 2024-03-01T06:00, step: PT1H, record: PT1H, window: {begin: -PT30M}, cutoff: PT10M}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of a cycle in its store."""
    folder = tmp_path_factory.mktemp("deploy")
    (folder / "ring.yaml").write_text(RING)
    request = Request(pipeline=str(folder / "ring.yaml"), store=str(folder / "store"))
    assert carry_out(prepare(request), InlineEngine(), Silent()).state == "done"
    return folder


def deployed(home: Path, text: str) -> dict[str, Any]:
    (home / "file.yaml").write_text(text)
    return deployment(home / "file.yaml", home / "store")


def test_an_interval_of_a_cycle_counts_from_the_moment_its_first_window_is_due(home: Path) -> None:
    entry = deployed(home, CYCLE + "schedule: {interval: PT20M}\n")
    [schedule] = entry["schedules"]
    # The first window ends half an hour after its label of 06:00, and may be analysed 10 minutes later.
    assert schedule == {
        "slug": "schedule",
        "interval": 1200.0,
        "anchor_date": "2024-03-01T06:40:00+00:00",
        "active": True,
    }
    assert entry["entrypoint"] == "flows.cycles:cycle"


def test_an_interval_of_a_pipeline_counts_from_a_midnight(home: Path) -> None:
    [schedule] = deployed(home, RING + "schedule: {interval: P1DT12H}\n")["schedules"]
    assert (schedule["interval"], schedule["anchor_date"]) == (129600.0, "2020-01-01T00:00:00+00:00")


def test_cron_keeps_its_zone_and_no_schedule_is_none(home: Path) -> None:
    [schedule] = deployed(home, RING + 'schedule: {cron: "0 6 * * *", timezone: Europe/Paris}\n')["schedules"]
    assert (schedule["cron"], schedule["timezone"]) == ("0 6 * * *", "Europe/Paris")
    assert deployed(home, RING)["schedules"] == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{}", "needs exactly one of `cron` and `interval`, and has neither"),
        ('{cron: "* * * * *", interval: PT1M}', "and has both"),
        ('{cron: "0 24 * * *"}', "24 in '24' is more than 23"),
        ('{cron: "0-99/5 * * * *"}', "99 in '0-99/5' is more than 59"),
        ("{interval: PT0S}", "'PT0S' is below 1 s"),
        ("{interval: -PT1H}", "'-PT1H' is below 1 s"),
        ("{interval: P1Y}", "counts months"),
        ("{interval: hourly}", "'hourly' is not an ISO 8601 duration"),
    ],
)
def test_a_schedule_that_is_none_is_refused(home: Path, given: str, told: str) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        deployed(home, f"{CYCLE}schedule: {given}\n")
    assert told in str(caught.value)


@pytest.mark.parametrize("cron", ["*/0 * * * *", "a b c d e", "0 6 0 * *", "0 0 30 2 *"])
def test_a_schedule_that_would_never_come_is_refused(home: Path, cron: str) -> None:
    with pytest.raises(InvalidInput, match="names no time that comes; write for example"):
        deployed(home, f"{CYCLE}schedule: {{cron: '{cron}'}}\n")


@pytest.mark.parametrize(
    ("flow", "fields"),
    [
        (
            cycle,
            {
                "cycle": "string",
                "overrides": ["string"],
                "store": {"string", "null"},
                "until": {"string", "null"},
                "force": {"string", "null"},
            },
        ),
        (pipeline, {"pipeline": "string", "overrides": ["string"], "store": {"string", "null"}}),
    ],
)  # fmt: skip
def test_the_form_of_a_deployment_has_typed_fields_that_explain_themselves(
    flow: Flow[..., Any], fields: dict[str, Any]
) -> None:
    schema = parameter_schema(flow).model_dump()
    assert schema["required"] == [next(iter(fields))]
    for name, kind in fields.items():
        shown = schema["properties"][name]
        assert len(shown["description"]) > 10
        if isinstance(kind, set):
            assert {option["type"] for option in shown["anyOf"]} == kind
        elif isinstance(kind, list):
            assert (shown["type"], [shown["items"]["type"]]) == ("array", kind)
        else:
            assert shown["type"] == kind
