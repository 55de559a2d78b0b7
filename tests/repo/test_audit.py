"""The audit of the locked packages, and that each of them is there for a reason."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FAKE = """import os, sys
service = sys.argv[sys.argv.index("--vulnerability-service") + 1]
print(os.environ[f"ANSWER_{service}"])
"""
CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "a", "skip_reason": "not found"}
FAULTY = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


def audit(folder: Path, pypi: Any, osv: Any) -> tuple[int, str]:
    """Return exit code and output of an audit in which the services give these answers."""
    (folder / "pip_audit.py").write_text(FAKE)
    (folder / "constraints.txt").write_text("# locked\na==1\nb==2\n")
    answers = {
        f"ANSWER_{name}": json.dumps({"dependencies": answer}) if isinstance(answer, list) else answer
        for name, answer in {"pypi": pypi, "osv": osv}.items()
    }
    result = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py", folder / "constraints.txt"],
        env={**os.environ, **answers, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("pypi", "osv", "code", "told"),
    [
        ([CLEAN, FAULTY], "", 1, "b 2: PYSEC-1, mended in 3\n"),
        ([CLEAN, SKIPPED], "", 0, "1 of 2 packages: no known vulnerability (pypi)\n"),
        ([SKIPPED, SKIPPED], [FAULTY], 1, "b 2: PYSEC-1, mended in 3\n"),
        ("Traceback", [CLEAN], 0, "1 of 2 packages: no known vulnerability (osv)\n"),
        ([SKIPPED], "", 0, "no advisory service answers (pypi, osv): nothing was audited\n"),
    ],
)
def test_an_audit_fails_for_a_known_vulnerability_alone(
    tmp_path: Path, pypi: Any, osv: Any, code: int, told: str
) -> None:
    assert audit(tmp_path, pypi, osv) == (code, told)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def applies(item: Requirement, extras: set[str]) -> bool:
    return item.marker is None or any(item.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def test_every_locked_package_is_needed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    waiting = [Requirement(text) for text in [*project["dependencies"], *extras["dev"], *extras["examples"]]]
    needed: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one = waiting.pop()
        key = plain(one.name), frozenset(one.extras)
        if key in needed:
            continue
        needed.add(key)
        try:
            below = [Requirement(text) for text in requires(one.name) or []]
        except PackageNotFoundError:
            continue
        waiting += [item for item in below if applies(item, one.extras)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    locked = {plain(line.partition("==")[0]) for line in lines if line and not line.startswith("#")}
    assert sorted(locked - {name for name, _ in needed} - {"pip", "setuptools", "wheel"}) == []
