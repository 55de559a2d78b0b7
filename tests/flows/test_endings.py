"""How commands end: by a code that says what happened, in one line, whoever reads it."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

from flows.endings import tolerant

ROOT = Path(__file__).parents[2]
WORD = "sw0rdfish-9"
PIPELINE = """
name: timed
steps:
  truth:
    {task: generate, system: {kind: lorenz96}, steps: STEPS, split: {time: {train: ..0.5, test: 0.55..}}}
"""
SHORT, LONG = PIPELINE.replace("STEPS", "20"), PIPELINE.replace("STEPS", "3000000")


def started(place: Path, *words: str, stdout: int | IO[str] = subprocess.PIPE) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words], cwd=place, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KOOPCAST_STORE": "runs"},
        stdout=stdout, stderr=subprocess.PIPE,
        # The shell of a job in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip


def test_a_reader_that_goes_is_no_failure_of_what_was_asked(small: Path, tmp_path: Path) -> None:
    """`koopcast doctor | head -1`: exit code 1 would mean that the store is damaged."""
    process = started(tmp_path, "validate", "small.yaml")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 141


def test_a_disk_that_is_full_is_told_in_one_line(small: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = started(tmp_path, "validate", "small.yaml", stdout=full)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (1, "OSError: [Errno 28] No space left on device\n")


def test_an_interruption_is_told(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    process = started(tmp_path, "run", "long.yaml", "--engine", "inline")
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("running" in line for line in lines)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert told.splitlines()[-1] == "interrupted; nothing is lost, the same command resumes"
    assert process.returncode == 130


def test_an_encoding_that_lacks_a_letter_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    monkeypatch.setattr("sys.stderr", None)
    tolerant()
    sys.stdout.write("κ × 2")
    assert written.getvalue() == rb"\u03ba \xd7 2"


def test_no_trace_of_a_run_holds_a_secret(
    koopcast: Callable[..., Any], small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError(f"401 at http://admin:{WORD}@127.0.0.1")

    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{WORD}")
    monkeypatch.setattr("flows.engines.perform", fail)
    done = koopcast("run", "small.yaml", "--engine", "inline", "--debug")
    assert done.returncode == 1
    assert "RuntimeError: 401 at http://REDACTED@127.0.0.1" in done.stderr
    assert "Traceback" in done.stderr
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"failures.log", "run.json", "report.html"} <= {path.name for path in written}
    assert WORD not in done.stdout + done.stderr
    for path in written:
        assert WORD.encode() not in path.read_bytes(), path


def test_a_fault_of_the_program_shows_its_trace_without_secrets(
    koopcast: Callable[..., Any], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError(WORD)

    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{WORD}")
    monkeypatch.setattr("flows.inspect.load", fail)
    done = koopcast("validate", "small.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.rstrip().endswith("ZeroDivisionError: REDACTED")


def test_a_file_whose_name_is_no_text_runs(koopcast: Callable[..., Any], small: Path, tmp_path: Path) -> None:
    """As of a name that another system wrote in Latin-1."""
    name = b"d\xfcnn.yaml"
    Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_text(SHORT)
    done = koopcast("run", os.fsdecode(name), "--engine", "inline")
    assert done.returncode == 0, done.stderr
    [page] = (tmp_path / "runs" / "runs").rglob("report.html")
    assert r"koopcast run d\udcfcnn.yaml" in page.read_text()
