"""Damaged inputs end in an error of ours or in a fault of their file, in bounded time and memory."""

import os
from pathlib import Path

import pytest

from tests.fuzz.harness import fuzz, guarded
from tests.fuzz.targets import TARGETS

COUNT = int(os.environ.get("COUNT", "0"))
"""Inputs of each target; 0: as many as take a third of a second or so."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_no_damage_gets_through(tmp_path: Path, name: str) -> None:
    with guarded(tmp_path):
        failures = fuzz(TARGETS[name], COUNT or 40, seed=COUNT)
    assert failures == []
