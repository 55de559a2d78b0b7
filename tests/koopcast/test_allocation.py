"""Freed memory stays with the process: taking it again asks nothing of the system."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from koopcast.allocation import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.ones(2**24)
before = faults()
torch.ones(2**24)
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of glibc")
def test_a_freed_tensor_is_taken_again_without_new_pages() -> None:
    def faults(word: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults("keep") < 100 < faults("leave")
