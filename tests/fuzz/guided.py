"""Fuzzing that is led by coverage: `python -m tests.fuzz.guided TARGET COUNT`, with the package `atheris`."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["koopcast.numerics.formulas", "koopcast.cycles.records", "schemas.compose", "yaml"]
):
    from tests.fuzz.harness import SCRATCH, guarded, read
    from tests.fuzz.targets import TARGETS


def main(name: str, count: str) -> None:
    """Run one target from its corpus on; a failure ends it, and libFuzzer keeps the input."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        seeds = Path(folder) / "seeds"
        seeds.mkdir()
        for number, content in enumerate(target.corpus):
            (seeds / str(number)).write_bytes(content)
        options = [f"-runs={count}", "-max_len=4096", "-rss_limit_mb=4096", "-timeout=30"]
        atheris.Setup([sys.argv[0], *options, str(seeds)], lambda content: read(target, content))
        with guarded(Path(folder)):
            atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
