"""A generation that is killed goes on at the blocks it lacks and leaves the bytes of one that was not."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.flows.conftest import start

PIPELINE = """\
name: sheets
seed: 4
threads: 2
steps:
  flow: {task: generate, system: {kind: darcy, points: 65}, samples: 200, block: 8}
"""


def fields(process: subprocess.Popen[str]) -> dict[str, bytes]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    folder = Path(json.loads(out)["steps"]["flow"]["artefact"])
    files = sorted(path for path in (folder / "fields.zarr").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def marks(folder: Path) -> list[Path]:
    return sorted(folder.glob("store/partial/*/blocks/marks/*.json"))


@pytest.mark.slow
def test_a_generation_killed_twice_leaves_the_bytes_of_an_unbroken_one(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    whole = fields(start(tmp_path, "p.yaml", "unbroken"))
    assert sum(name.startswith("fields.zarr/u/c/") for name in whole) == 25
    for number in (4, 12):
        process = start(tmp_path, "p.yaml", "store")
        while len(marks(tmp_path)) < number:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert number <= len(marks(tmp_path)) < 25
    before = {path: path.stat().st_mtime_ns for path in marks(tmp_path)}
    process = start(tmp_path, "p.yaml", "store")
    while len(marks(tmp_path)) <= len(before):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    assert {path: path.stat().st_mtime_ns for path in before if path.exists()} == before
    assert fields(process) == whole
    assert not (tmp_path / "store" / "partial").exists() or not any(
        (tmp_path / "store" / "partial").iterdir()
    )
