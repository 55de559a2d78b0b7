"""Faults around the command, a few of each: `python -m tests.faults --database none` does twenty."""

from pathlib import Path

import pytest

from tests.faults import local


@pytest.mark.slow
@pytest.mark.parametrize("kind", local.FAULTS)
def test_faults_around_a_command_leave_the_bytes_of_an_unbroken_chain(tmp_path: Path, kind: str) -> None:
    if (why := local.WHY_NOT.get(kind, lambda: None)()) is not None:
        pytest.skip(why)
    row = local.trial(tmp_path, kind, repeats=4, seed=1)
    assert row.hits > 0
    assert row.windows >= 8
    assert row.is_good, row
    assert "traceback" not in row.note
