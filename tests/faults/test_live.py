"""A schedule on a real server that loses worker and server; what it tells of windows without reports."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.processes import wait_until
from koopcast.cycles.archive import Archive
from tests.faults.database import Postgres, make
from tests.faults.twin import CELLS, RING, Feeder, Row, Twin, judge, now, truth_of
from tests.faults.world import World

pytestmark = pytest.mark.server

SECRET = "a-word-that-nobody-may-read"


@pytest.fixture(scope="module")
def received() -> Iterator[list[tuple[str, Any]]]:
    """What came to the webhook: path and content."""
    got: list[tuple[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        got.append(("address", f"http://127.0.0.1:{http.server_address[1]}/{SECRET}"))
        yield got
        http.shutdown()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, received: list[tuple[str, Any]]
) -> Iterator[World]:
    """A server with a password, a worker that knows a webhook, and a store with a model."""
    if request.param == "postgresql" and (why := Postgres.why_not()) is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, make(request.param, folder))
    world.settings["KOOPCAST_WEBHOOK"] = received[0][1]
    (folder / "ring.yaml").write_text(RING)
    try:
        world.start()
        world.koopcast(
            "run", str(folder / "ring.yaml"), "--engine", "inline", "--store", str(folder / "store")
        )
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="module")
def truth(world: World) -> np.ndarray:
    return truth_of(world.folder / "store")


def test_a_year_of_six_hourly_windows_is_one_run_of_a_reanalysis(world: World, truth: np.ndarray) -> None:
    store, start = world.folder / "store", pd.Timestamp("2019-01-01T06:00")
    twin = Twin(
        world.folder / "year", store, "year", truth, start, step=21600, cutoff=0, more="clock: reanalysis\n"
    )
    for quarter in range(4):
        twin.deliver(range(365 * quarter, 365 * (quarter + 1)), f"{quarter}.csv")
    assert "deployed cycle/year" in world.koopcast("deploy", str(twin.file), "--store", str(store))
    run = world.create_run(world.deployment("cycle/year"))
    assert world.await_end(run, 1800) == "COMPLETED"
    facts = json.loads(world.koopcast("status", "year", "--store", str(store), "--json"))
    assert (facts["state"], facts["windows"], facts["without_reports"]) == ("well", 1460, [])
    world.koopcast("cycle", str(twin.file), "--set", "name=year-unbroken", "--store", str(store))
    row = Row("year", world.database.name, 1)
    judge(row, twin, 1460, Archive(store / "cycles" / "year-unbroken"))
    assert row.is_good, row
    analysis = twin.archive.fields("analysis")["X"].values.reshape(1460, CELLS)
    error = np.sqrt(np.square(analysis - truth[np.arange(1460) % len(truth)]).mean(axis=1))
    assert error[100:].mean() < 0.25


def test_a_schedule_of_minutes_goes_on_through_outages_of_worker_and_server(
    world: World, truth: np.ndarray
) -> None:
    store, start = world.folder / "store", now().ceil("min")
    more = "schedule: {interval: PT1M}\n"
    twin = Twin(world.folder / "live", store, "live", truth, start, step=60, cutoff=5, more=more, slot=True)
    told = world.koopcast("deploy", str(twin.file), "--store", str(store))
    assert "deployed cycle/live, scheduled every 60 s" in told
    feeder = Feeder(twin, batch=1)

    def await_windows(count: int) -> None:
        labels = twin.archive.labels
        assert wait_until(lambda: len(labels()) >= count, lambda: True, 60 * count + 300), labels()

    def let_pass(windows: int) -> None:
        """Wait until so many windows are due, whoever analyses them."""
        assert wait_until(lambda: twin.due_by(now()) >= windows, lambda: True, 60 * windows + 60)

    await_windows(2)
    assert world.kill_worker("one")
    let_pass(len(twin.archive.labels()) + 2)
    world.start_worker("one")
    await_windows(5)
    assert world.kill_server()
    let_pass(len(twin.archive.labels()) + 2)
    world.start_server()
    await_windows(9)
    deployment = world.deployment("cycle/live")
    world.call(f"deployments/{deployment}", {"paused": True}, "PATCH")
    assert wait_until(lambda: not world.runs(), lambda: True, 300)
    feeder.stop()
    filters = {"deployments": {"id": {"any_": [deployment]}}, "limit": 200}
    runs = world.call("flow_runs/filter", filters)
    assert sum(run["auto_scheduled"] and run["state_type"] == "COMPLETED" for run in runs) >= 3
    facts = json.loads(world.koopcast("status", "live", "--store", str(store), "--json"))
    assert (facts["faults"], facts["without_reports"]) == ([], [])
    windows = len(twin.archive.labels())
    until = f"{twin.clock.due_at(windows - 1):%Y-%m-%dT%H:%M:%S}"
    world.koopcast("cycle", str(twin.file), "--set", "name=unbroken", "--until", until, "--store", str(store))
    row = Row("live", world.database.name, 1)
    judge(row, twin, windows, Archive(store / "cycles" / "unbroken"))
    assert row.is_good, row


def test_a_gap_reaches_automation_and_webhook_and_no_secret_is_told(
    world: World, truth: np.ndarray, received: list[tuple[str, Any]]
) -> None:
    store, start = world.folder / "store", now().floor("s")
    del received[1:]
    gaps = frozenset({2, 3})
    more = "expect: [ob_rms(cycle) < 0.001]\n"
    twin = Twin(
        world.folder / "gappy", store, "gappy", truth, start, gaps=gaps, cutoff=0, more=more, slot=True
    )
    twin.deliver(range(6), "all.csv")
    world.koopcast("deploy", str(twin.file), "--store", str(store))
    entry = world.call("deployments/name/cycle/gappy")
    assert entry["global_concurrency_limit"]["limit"] == 1
    assert entry["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    # A deployment that had a slot has none when it is brought up to date without.
    twin.file.write_text(twin.file.read_text().replace("slot: true", "slot: false"))
    world.koopcast("deploy", str(twin.file), "--store", str(store))
    entry = world.call("deployments/name/cycle/gappy")
    assert entry["global_concurrency_limit"] is None
    _demand_typed(entry["parameter_openapi_schema"]["properties"])
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": ["koopcast.cycle.gap"],
        "match": {"prefect.resource.id": "koopcast.cycle.gappy"},
        "threshold": 1,
        "within": 0,
    }
    pause = {"type": "pause-deployment", "source": "selected", "deployment_id": entry["id"]}
    world.call("automations/", {"name": "gaps", "trigger": trigger, "actions": [pause]})
    assert not entry["paused"]
    run = world.create_run(entry["id"], until=f"{twin.clock.label(5):%Y-%m-%dT%H:%M:%S}")
    assert world.await_end(run, 180) == "FAILED"
    assert [manifest.source for manifest in twin.archive.manifests()].count("forecast") == 2

    def events() -> list[dict[str, Any]]:
        query = {"filter": {"event": {"prefix": ["koopcast.cycle."]}}}
        return list(world.call("events/filter", query)["events"])

    wanted = {"koopcast.cycle.gap", "koopcast.cycle.expectation-failed"}
    assert wait_until(lambda: {event["event"] for event in events()} >= wanted, lambda: True, 60), events()
    [gap] = [event for event in events() if event["event"] == "koopcast.cycle.gap"]
    labels = f"{twin.clock.name(2)}, {twin.clock.name(3)}"
    assert gap["payload"]["text"] == f"nothing was observed in {labels}"
    assert wait_until(lambda: world.call("deployments/name/cycle/gappy")["paused"], lambda: True, 90)

    def logs() -> str:
        return json.dumps(world.call("logs/filter", {"limit": 200, "sort": "TIMESTAMP_DESC"}))

    # A flow run sends its lines in batches, the last of them when it has ended.
    assert wait_until(lambda: "Finished in state Failed('ob_rms(cycle)" in logs(), lambda: True, 60), logs()
    bodies = [body for path, body in received[1:] if path == f"/{SECRET}"]
    assert {"cycle": "gappy", "event": "gap", "text": f"gappy: nothing was observed in {labels}"} in bodies
    assert {body["event"] for body in bodies} == {"gap", "expectation-failed"}
    told = {
        "logs": logs(),
        "artifacts": json.dumps(world.call("artifacts/filter", {"limit": 200})),
        "events": json.dumps(events()),
        **{str(path): _text(path) for path in twin.archive.root.rglob("*") if path.is_file()},
        **{str(path): _text(path) for path in world.folder.glob("*.log")},
        "status": world.koopcast(
            "status", "gappy", "--store", str(store), "--json", "--max-behind", "100000", expected=3
        ),
    }
    assert str(twin.archive.root / "status.html") in told
    assert "gappy" in told["logs"]
    coded = base64.b64encode(world.authorization.encode()).decode()
    secrets = [SECRET, world.authorization.split(":")[1], coded, world.database.secret or SECRET]
    assert [(place, word) for place, text in told.items() for word in secrets if word in text] == []


def _demand_typed(shown: dict[str, Any]) -> None:
    """See that the form of a run has a typed field with a description for each parameter."""
    assert shown["cycle"]["type"] == "string"
    assert (shown["overrides"]["type"], shown["overrides"]["items"]) == ("array", {"type": "string"})
    assert [option["type"] for option in shown["until"]["anyOf"]] == ["string", "null"]
    assert all(field["description"] for field in shown.values())


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")
