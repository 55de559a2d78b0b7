"""Waiting threads give their core away: what torch's threads do is decided before torch is there."""

import json
import os
import subprocess
import sys

import pytest

LOOK = """
import importlib, json, os, sys
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            print(json.dumps(os.environ.get("GOMP_SPINCOUNT")))

sys.meta_path.insert(0, Watch())
importlib.import_module(sys.argv[1])
importlib.import_module("torch")
"""


def seen_by_torch(module: str, **settings: str) -> str | None:
    """Return how long threads wait actively, at the moment when torch is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", LOOK, module]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=kept | settings).stdout
    found: str | None = json.loads(told.splitlines()[0])
    return found


@pytest.mark.parametrize("module", ["koopcast", "flows.cli", "flows.pipeline", "flows.cycles"])
def test_torch_finds_that_threads_shall_not_wait_actively_for_long(module: str) -> None:
    assert seen_by_torch(module) == "3000"


def test_what_a_person_set_counts() -> None:
    assert seen_by_torch("koopcast", GOMP_SPINCOUNT="7") == "7"
    assert seen_by_torch("koopcast", OMP_WAIT_POLICY="ACTIVE") is None
