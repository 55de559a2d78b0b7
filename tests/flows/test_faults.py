"""What a person's machine does to a run: kills it, fills its disk, starts it twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from koopcast.stores import Store, doctor

ROOT = Path(__file__).parents[2]
KILLS = 20
Summary = dict[str, Any]
NETWORK: dict[str, Any] = {
    "name": "network",
    "seed": 1,
    "threads": 1,
    "steps": {
        "ks": {
            "task": "generate",
            "system": {"kind": "kuramoto_sivashinsky", "length": 22, "points": 64},
            "samples": 12,
            "steps": 60,
            "dt": 0.25,
            "record_every": 4,
            "burn_in": 60,
            "split": {"sample": {"train": 10, "valid": 1, "test": 1}},
        },
        "model": {
            "task": "train",
            "data": "ks",
            "model": {"kind": "fno", "modes": 12, "width": 12, "layers": 2},
            "training": {"epochs": 12, "batch_size": 32, "checkpoint_minutes": 0.001},
        },
        "analysis": {
            "task": "assimilate",
            "model": "model",
            "data": "ks.test",
            "observations": {"kind": "synthetic", "locations": "all", "error": {"std": 0.5}},
            "method": {"kind": "etkf", "members": 12, "inflation": {"kind": "multiplicative", "factor": 1.1}},
        },
        "scores": {
            "task": "evaluate",
            "of": ["model", "analysis"],
            "against": ["persistence"],
            "metrics": ["rmse", "energy_spectrum"],
        },
    },
}


def _start(folder: Path, store: str = "store", *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = ["run", "network.yaml", "--engine", "inline", "--store", store, "--json", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def _digests(summary: Summary) -> dict[str, str]:
    return {
        name: json.loads((Path(step["artefact"]) / "manifest.json").read_text())["digest"]
        for name, step in summary["steps"].items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(NETWORK, sort_keys=False))
    return tmp_path


def _unbroken(folder: Path) -> tuple[dict[str, str], dict[str, object], float]:
    begun = time.monotonic()
    code, out, err = _end(_start(folder, "unbroken"))
    assert code == 0, err
    summary = json.loads(out)
    return _digests(summary), summary["scores"], time.monotonic() - begun


@pytest.mark.parametrize("kills", [2, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_equal_to_an_unbroken_one(folder: Path, kills: int) -> None:
    digests, scores, seconds = _unbroken(folder)
    moments = random.Random(kills)
    killed, number = 0, 0
    while killed < kills:
        store = f"store{number}"
        process = _start(folder, store)
        try:
            out, err = process.communicate(timeout=seconds * moments.uniform(0.35, 0.95))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0, err
            _compare(json.loads(out), digests, scores)
            number += 1
        if (folder / store).is_dir():
            report = doctor(Store.open(folder / store))
            assert report.is_clean, list(report.lines())
    code, out, err = _end(_start(folder, store))
    assert code == 0, err
    _compare(json.loads(out), digests, scores)


def _compare(summary: Summary, digests: dict[str, str], scores: dict[str, object]) -> None:
    assert _digests(summary) == digests
    assert summary["scores"] == scores


def test_two_runs_at_once_compute_each_key_once(folder: Path) -> None:
    both = [_start(folder), _start(folder)]
    ended = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    first, second = (json.loads(out) for out, _ in ended)
    assert _digests(first) == _digests(second)
    for name in NETWORK["steps"]:
        computed = [not summary["steps"][name]["cached"] for summary in (first, second)]
        assert computed.count(True) == 1, name
    assert doctor(Store.open(folder / "store")).is_clean


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system needs rights that this user does not have")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_a_clear_error_and_damages_nothing(folder: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"
    assert _end(_start(folder, str(small_disk / "store"), "--only", "ks"))[0] == 0
    filler.write_bytes(b"\0" * (os.statvfs(small_disk).f_bavail * 4096 - 32768))
    code, out, err = _end(_start(folder, str(small_disk / "store")))
    assert code == 1
    assert "full" in out + err
    assert "Traceback" not in err
    filler.unlink()
    assert doctor(Store.open(small_disk / "store")).is_clean
    assert _end(_start(folder, str(small_disk / "store"), "--only", "model"))[0] == 0


def test_a_read_only_store_is_a_clear_error(folder: Path, small_disk: Path) -> None:
    assert _end(_start(folder, str(small_disk / "store"), "--only", "ks"))[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, _, err = _end(_start(folder, str(small_disk / "store")))
    assert code == 1
    assert "read-only" in err.lower()
    assert "Traceback" not in err
    assert doctor(Store.open(small_disk / "store")).is_clean
