"""A pipeline on an object store: the bytes of a local one, shared by machines, whole whatever is killed."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
import xarray as xr
from botocore.config import Config

from flows.deploy import deployment
from flows.request import RunResult
from koopcast.errors import StoreError
from koopcast.inference import load
from koopcast.stores import Store, doctor
from koopcast.stores.bucket import Bucket
from tests.flows.conftest import TUNING, start

KILLS = 10
Command = Callable[..., Any]
Go = Callable[..., RunResult]
Move = Callable[[str], None]


@pytest.fixture
def move(bucket_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Move:
    """Go on at a machine with a cache of its own."""
    return lambda name: monkeypatch.setenv("KOOPCAST_CACHE", str(tmp_path / name))


def states(result: RunResult) -> set[str]:
    return {"cached" if step.cached else step.state for step in result.steps.values()}


def digests(uri: str | Path) -> dict[str, str]:
    """Return the digest of each artefact that a run of a store names, but for pages: they tell the time."""
    store = Store.open(uri, create=False)
    steps = [
        step
        for pipeline in ("small", "tuning")
        if pipeline in (store.bucket.entries("runs") if store.bucket else os.listdir(store.all_runs))
        for run in store.runs(pipeline)
        for step in run.record.steps.values()
        if step.kind != "report"
    ]
    found = {}
    for step in steps:
        artefact = store.find(step.kind, step.key)
        assert artefact is not None
        found[artefact.ref.name] = artefact.ref.digest
    return found


@pytest.fixture
def asked(bucket_uri: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the object store, from now on."""
    found: list[str] = []
    for method in ("get", "listing", "entries", "create", "replace", "put", "delete", "download", "upload"):
        whole = getattr(Bucket, method)

        def noted(self: Bucket, *arguments: Any, whole: Any = whole, method: str = method) -> Any:
            found.append(f"{method} {arguments[0]}")
            return whole(self, *arguments)

        monkeypatch.setattr(Bucket, method, noted)
    return found


def test_a_run_leaves_the_digests_of_a_local_one_and_another_machine_has_nothing_to_do(
    go: Go, bucket_uri: str, move: Move, tmp_path: Path, asked: list[str]
) -> None:
    local, first = go(), go(store=bucket_uri)
    assert states(first) == {"done"}
    assert digests(bucket_uri) == digests(tmp_path / "store")
    assert first.scores == local.scores
    move("elsewhere")
    second = go(store=bucket_uri)
    assert states(second) == {"cached"}
    assert (second.state, second.scores) == ("done", first.scores)
    assert second.report is not None
    assert Path(second.report).is_relative_to(tmp_path / "elsewhere")
    asked.clear()
    go(store=bucket_uri)
    manifests = [item for item in asked if item.startswith("get artefacts/")]
    assert len(manifests) <= 4 * len(set(manifests))
    assert not [item for item in asked if item.startswith(("download", "upload"))]
    assert len(asked) <= 50
    changed = go("steps.model.model.rank=2", store=bucket_uri)
    assert {name: step.cached for name, step in changed.steps.items()} == {
        "truth": True,
        "model": False,
        "analysis": True,
        "scores": False,
    }
    assert doctor(Store.open(bucket_uri)).is_clean


def test_what_could_not_be_sent_is_not_made_again_and_what_was_damaged_is(
    go: Go, bucket_uri: str, move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Bucket.upload

    def fail_for_models(self: Bucket, files: dict[str, Path]) -> None:
        if any("artefacts/model-" in name for name in files):
            raise StoreError("'s3://bucket' cannot be reached", "check the network")
        upload(self, files)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "upload", fail_for_models)
        result = go(store=bucket_uri)
    assert result.state == "failed"
    assert "the result is kept in" in result.steps["model"].message
    assert result.steps["scores"].state == "skipped"
    with monkeypatch.context() as patched:
        patched.setattr("tasks.perform.train", None)
        again = go(store=bucket_uri)
    assert again.state == "done"
    assert doctor(Store.open(bucket_uri)).leftovers == ()
    bucket = Bucket(bucket_uri)
    model = bucket.tags(f"artefacts/model-{again.steps['model'].key}")
    bucket.delete([name for name in model if not name.endswith("/manifest.json")][:1])
    move("elsewhere")
    healed = go(store=bucket_uri)
    assert {name for name, step in healed.steps.items() if not step.cached} == {"model"}
    assert healed.scores == again.scores
    assert doctor(Store.open(bucket_uri)).is_clean


SWEEP = f"{TUNING}sweep: {{over: {{steps.etkf.method.inflation.factor: [1.0, 1.05]}}}}\n"


def test_a_sweep_leaves_the_digests_of_a_local_one(
    koopcast: Command, bucket_uri: str, move: Move, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tuning.yaml").write_text(SWEEP)
    run = ("run", "tuning.yaml", "--engine", "inline", "--json")
    assert koopcast(*run, "--store", "local").returncode == 0
    monkeypatch.setenv("KOOPCAST_STORE", bucket_uri)
    done = json.loads(koopcast(*run).stdout)
    assert done["state"] == "done"
    assert digests(bucket_uri) == digests(tmp_path / "local")
    move("elsewhere")
    again = json.loads(koopcast(*run).stdout)
    assert all(step["cached"] for name, step in again["steps"].items() if name != "scores")
    assert again["scores"] == done["scores"]


def test_every_command_takes_the_address_of_an_object_store(
    koopcast: Command, small: Path, bucket_uri: str, move: Move, tmp_path: Path
) -> None:
    at = ("--store", bucket_uri)
    done = koopcast("run", "small.yaml", "--engine", "inline", *at)
    assert done.returncode == 0, done.stderr
    first = Store.open(bucket_uri).run("small/latest").name
    move("elsewhere")
    assert koopcast("run", "small.yaml", "--engine", "inline", "--locked", *at).returncode == 0
    plan = json.loads(koopcast("plan", "small.yaml", "--json", *at).stdout)
    assert {step["action"] for step in plan["steps"]} == {"cached"}
    assert "nothing changed" in koopcast("why", "small.yaml", "model", *at).stdout
    assert "do not differ" in koopcast("diff", first, "small/latest", *at).stdout
    report = Path(json.loads(koopcast("show", first, "--json", *at).stdout)["report"])
    assert report.is_relative_to(tmp_path / "elsewhere")
    assert list(report.parent.glob("figures/*.svg"))
    address = "runs://small/latest/model"
    said = koopcast("predict", address, "--data", "runs://small/latest/truth.test", "-o", "out.nc", *at)
    assert said.returncode == 0, said.stderr
    with closing(xr.open_dataset(tmp_path / "out.nc")) as predicted:
        assert predicted.sizes["lead"] == 1
    assert load(address, bucket_uri).model is not None
    assert deployment(small, bucket_uri)["parameters"]["store"] == bucket_uri
    assert "would remove 0 entries" in koopcast("gc", "--dry-run", *at).stdout
    assert koopcast("doctor", *at).returncode == 0


def test_a_place_that_cannot_be_reached_is_one_line(
    koopcast: Command, small: Path, bucket_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = koopcast("run", "small.yaml", "--store", "s3://no-such-bucket/x")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "'s3://no-such-bucket/x' cannot be reached" in done.stderr
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "such")
    done = koopcast("run", "small.yaml", "--store", "s3://no-such-bucket/y")
    assert "such" not in done.stderr.replace("no-such-bucket", "")
    done = koopcast("doctor", "--store", f"{bucket_uri}/nothing")
    assert (done.returncode, "there is no store at" in done.stderr) == (1, True)


@pytest.fixture
def far_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket in a process of its own, for many that are killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "KOOPCAST_CACHE": str(tmp_path / "cache"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        client = boto3.client("s3", config=Config(retries={"total_max_attempts": 10}))
        client.create_bucket(Bucket="far")
        client.close()
        yield "s3://far/store"
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_digests_of_a_local_one(
    small: Path, far_store: str, tmp_path: Path
) -> None:
    for warm in ("warm", "local"):
        begun = time.monotonic()
        out, err = start(tmp_path, "small.yaml", warm).communicate(timeout=300)
        seconds = time.monotonic() - begun
    scores = json.loads(out)["scores"]
    moments, killed, number = random.Random(7), 0, 0
    while killed < KILLS:
        store = f"{far_store}{number}"
        process = start(tmp_path, "small.yaml", store)
        try:
            out, err = process.communicate(timeout=seconds * moments.uniform(0.35, 0.95))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0, err
            assert digests(store) == digests(tmp_path / "local")
            number += 1
        report = doctor(Store.open(store))
        assert report.is_clean, list(report.lines())
    out, err = start(tmp_path, "small.yaml", store).communicate(timeout=300)
    assert json.loads(out)["scores"] == scores, err
    assert digests(store) == digests(tmp_path / "local")
    assert doctor(Store.open(store)).leftovers == ()
