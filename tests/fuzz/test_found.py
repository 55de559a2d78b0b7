"""Inputs on which a reader once failed."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save

from tests.fuzz import corpus
from tests.fuzz.harness import guarded, read
from tests.fuzz.targets import TARGETS, judged

STORE = json.loads(corpus.zarr()[0])
MANIFEST = json.loads(corpus.windows()[0])
LEDGER = json.loads(corpus.ledgers()[0])
LOCK = json.loads(corpus.locks()[0])
TEXTS = b"\x03\x00\x00\x00\x02\x00\x00\x00s0"
"""How many different texts a column of an ODB table has, and the first of them."""
GENERATOR = torch.Generator().get_state()
FOUND: list[tuple[str, object]] = [
    ("manifest", {**MANIFEST, "observations": 1}),
    ("manifest", {**MANIFEST, "monitors": {"ob_rms": "x"}}),
    ("manifest", {**MANIFEST, "files": [1]}),
    ("manifest", {**MANIFEST, "data": "x" * 300}),
    ("manifest", {**MANIFEST, "files": {"x" * 300: "ab" * 32}}),
    ("manifest", {**MANIFEST, "label": None}),
    ("manifest", [MANIFEST]),
    ("identity", {"format": 1, "identity": -1, "forks": []}),
    ("identity", {"format": 1, "identity": {}}),
    ("identity", {"format": 1, "identity": {"options": "x"}, "forks": 1}),
    ("ledger", {**LEDGER, "files": [{**LEDGER["files"][0], "windows": 1}]}),
    ("ledger", {**LEDGER, "files": [{**LEDGER["files"][0], "windows": {"x": 1}}]}),
    ("ledger", {**LEDGER, "files": [{**LEDGER["files"][0], "path": {}}]}),
    ("ledger", {**LEDGER, "files": [{**LEDGER["files"][0], "digest": "x" * 300}]}),
    ("ledger", b"[" * 100_000),
    ("lock", b"{"),
    ("lock", b"a: `"),
    ("lock", b"seed: 0\nthreads: 1\nversions: {}\nsteps: {a: &a {b: *a}}"),
    ("lock", {**LOCK, "versions": 1}),
    ("lock", {**LOCK, "steps": {"a": 1}}),
    ("lock", {name: value for name, value in LOCK.items() if name != "threads"}),
    ("fields", {**STORE, "zarr.json": "{}"}),
    ("fields", {**STORE, "t/zarr.json": STORE["t/zarr.json"].replace('"bytes"', '"pickle"')}),
    ("fields", {**STORE, "t/zarr.json": STORE["t/zarr.json"].replace("float64", "float63")}),
    ("restart", save({"position": torch.zeros(2, dtype=torch.int64)})),
    ("restart", save({"ensemble": torch.ones(1), "generator": torch.ones(3), "position": torch.zeros(2)})),
    ("restart", save({"ensemble": torch.ones(1), "generator": GENERATOR, "position": torch.zeros(3)})),
    ("extended", b"extends: " + b"x" * 300),
    ("odb", corpus.odb()[0][:150]),
    ("odb", corpus.odb()[0].replace(TEXTS, b"\xff\xff\xff\x7f" + TEXTS[4:])),
]


def test_the_example_of_odb_has_texts() -> None:
    assert TEXTS in corpus.odb()[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", range(len(FOUND)))
def test_what_once_got_through_is_a_fault_now(tmp_path: Path, case: int) -> None:
    name, content = FOUND[case]
    with guarded(tmp_path):
        read(TARGETS[name], content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame([["2020-01-01", "2020-01-01", 1.0, 2.0]], columns=["date", "date", "value", "value"]),
        pd.DataFrame(
            {"time": [b"2020-01-01T05:40Z", b"\x80"], "latitude": 0.0, "longitude": [b"1", b"2"], "t": 1.0}
        ),
    ],
    ids=["names given twice", "bytes"],
)
def test_a_table_that_once_got_through_ends_in_classes(table: pd.DataFrame) -> None:
    judged(table)
