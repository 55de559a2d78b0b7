"""What is fuzzed: every reader of what people, providers or a damaged disk may hand in."""

import json
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import torch
from pydantic_core import PydanticCustomError

from flows.lock import differences
from flows.lock import read as read_lock
from koopcast.assimilation.state import CycleState
from koopcast.cycles.archive import Archive
from koopcast.cycles.clock import Clock
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.inbox import Inbox
from koopcast.cycles.readers import read_delivery
from koopcast.cycles.reports import Reason, deduplicate
from koopcast.errors import KoopcastError, StoreMissing
from koopcast.numerics.formulas import Formula
from koopcast.stores import Store
from koopcast.stores.arrays import open_fields
from koopcast.stores.artefact import read_artefact
from koopcast.stores.files import read_tensors
from koopcast.stores.integrity import faults
from koopcast.stores.runs import open_run, read_run
from koopcast.times import parse_duration
from schemas.cycle import MONITORS, load_cycle
from schemas.expect import ExpectationError, Vocabulary, parse
from schemas.faults import PipelineInvalid
from schemas.load import parse as parse_yaml
from schemas.pipeline import load
from schemas.references import Ref
from tasks.status import standing
from tests.fuzz import corpus
from tests.fuzz.harness import Target
from tests.fuzz.mutation import damaged_bytes, damaged_lines, damaged_values, mixed, words

SPEC = TableInboxSpec(path="inbox/*", settle=0)
LAYOUT = SPEC.layout(corpus.FIELDS)
CLOCK = Clock(
    pd.Timestamp("2020-01-01T06:00"), *(parse_duration(text) for text in ("PT6H", "-PT6H", "PT6H", "PT0S"))
)
SCORES = {"rmse": {"m": {"all": 1.0, "1": 0.5}}, "bias[t]": {"m": {"all": 0.0}}}
CONDITION = (
    "rmse(m)",
    "rmse(m, lead=1)",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "[",
    "]",
    ",",
    "+",
    "-",
    "*",
    "/",
    "(",
    ")",
    "1",
    "0",
    "1e999",
    "and",
    "bias",
    "variable=",
    "lead=",
    "n=",
    "٣",
    "²",
)
TERMS = (
    "t",
    "u",
    "+",
    "-",
    "*",
    "/",
    "**",
    "(",
    ")",
    "sqrt(",
    "exp(",
    "1",
    "2.5",
    "1e400",
    "9" * 40,
    "__class__",
    ".",
    "[",
    "]",
    "lambda: ",
    "if",
    "else",
    ":=",
    "f'{t}'",
    ",",
    "not ",
    "é",
    "ﬁ",
    "~",
    "@",
    "1j",
    "...",
)
OVERRIDES = (
    "steps.t.steps=30",
    "steps.m.model={kind: edmd, rank: 3}",
    "sweep.over=null",
    "steps.s.expect.0=rmse(m) < 1",
)
PATHS = (
    "steps",
    ".",
    ".",
    "t",
    "m",
    "s",
    "model",
    "expect",
    "0",
    "٣",
    "-1",
    "9",
    "=",
    "=",
    "=",
    "null",
    "{a: 1}",
    "[",
    "]",
    "edmd",
    "!!python/object:os",
    "*a",
    "&a",
    "sweep",
    "over",
    "extends",
    "name",
    "../x",
    " ",
    ": ",
    "'",
    "\n",
    "\x00",
)
REFERENCES = ("runs://", "sst", "/", "latest", "..", ".", "a_b", "é", "\n", "%2e", "\\", " ")


def yaml(content: bytes) -> None:
    """Read a document."""
    try:
        parse_yaml(content, "x.yaml")
    except PipelineInvalid as error:
        if not error.faults:
            raise


def pipeline(content: bytes) -> None:
    """Read and check a pipeline."""
    Path("x.yaml").write_bytes(content)
    try:
        load("x.yaml")
    except PipelineInvalid as error:
        if not error.faults:
            raise


def extended(content: bytes) -> None:
    """Read a pipeline laid over another."""
    Path("base.yaml").write_bytes(corpus.SWEPT)
    pipeline(b"extends: base.yaml\n" + content)


def cycle(content: bytes) -> None:
    """Read and check a cycle whose model is not there."""
    Path("x.yaml").write_bytes(content)
    try:
        load_cycle("x.yaml", (), _nothing)
    except PipelineInvalid as error:
        if not error.faults:
            raise


def _nothing(ref: object) -> object:
    raise StoreMissing(f"'{ref}' is not there", "run it")


def override(content: bytes) -> None:
    """Set an option as on the command line, and check what comes of it."""
    Path("base.yaml").write_bytes(corpus.SWEPT)
    try:
        load("base.yaml", [content.decode("utf-8", "replace")])
    except PipelineInvalid as error:
        if not error.faults:
            raise


def reference(content: bytes) -> None:
    """Read a reference; what it names stays below the folder of the runs."""
    try:
        ref = Ref.parse(content.decode("utf-8", "replace"))
    except PydanticCustomError:
        return
    assert ".." not in f"{ref.run}/{ref.step}"
    assert str(Ref.parse(str(ref))) == str(ref)


def expectation(content: bytes) -> None:
    """Read a condition and look whether it holds."""
    text = content.decode("utf-8", "replace")
    for vocabulary in (
        None,
        Vocabulary(MONITORS, {"cycle": ()}),
        Vocabulary(("rmse", "bias"), {"m": (1,)}, ("t",)),
    ):
        try:
            outcome = parse(text, vocabulary).outcome(SCORES)
        except ExpectationError:
            continue
        assert outcome.holds in (True, False)


def formula(content: bytes) -> None:
    """Read a formula and take its value."""
    try:
        found = Formula.parse(content.decode("utf-8", "replace"))
    except KoopcastError:
        return
    values = {name: torch.tensor([0.5, -2.0], dtype=torch.float64) for name in found.names} or {
        "t": torch.ones(2)
    }
    assert found.of(values).shape == (2,)


class Delivered:
    """Reads a file as an inbox does: what comes of it is a count in each class, or a fault of the file."""

    def __init__(self, suffix: str) -> None:
        self._path = Path("inbox") / f"x.{suffix}"

    def __call__(self, content: bytes) -> None:
        self._path.parent.mkdir(exist_ok=True)
        self._write(self._path, content)
        try:
            table, _ = read_delivery(self._path, LAYOUT)
        except MemoryError:
            raise
        except Exception:
            # A reader of a foreign format may raise anything; the inbox makes it a fault of the file.
            return
        if (lot := zlib.crc32(content)) % 8 == 0:
            judged(table)
        if lot % 64 == 0:
            self._through_the_inbox()

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)

    def _through_the_inbox(self) -> None:
        shutil.rmtree("kept", ignore_errors=True)
        inbox = Inbox(SPEC, corpus.FIELDS, CLOCK, Path("kept"))
        inbox.scan()
        (delivery,) = inbox.deliveries.values()
        if delivery.fault:
            return
        assert delivery.rows == sum(delivery.rejected.values()) + sum(delivery.windows.values())
        for number in inbox.windows():
            assert len(inbox.reports(number)) == delivery.windows[str(number)]


def judged(table: pd.DataFrame) -> None:
    """Make reports of a table, of whatever columns and values, and put each into a class."""
    try:
        reports = LAYOUT.reports(table)
    except KoopcastError:
        return
    SPEC.judge(reports)
    ordered = deduplicate(reports, LAYOUT.axes, "first")
    assert len(ordered) == len(reports)
    used = ordered[ordered["reason"] == Reason.USED]
    assert np.isfinite(used[["latitude", "longitude", "value", "error"]].to_numpy()).all()
    assert (used["error"] > 0).all()
    assert used["time"].notna().all()
    assert used["variable"].isin(["t", "u"]).all()


class DeliveredTogether(Delivered):
    """The same of messages, many in one file: it is read in a process of its own."""

    def __init__(self, suffix: str, together: int = 10) -> None:
        super().__init__(suffix)
        self._together, self._held = together, list[bytes]()

    def __call__(self, content: bytes) -> None:
        self._held.append(content)
        if len(self._held) == self._together:
            super().__call__(b"".join(self._held))
            self._held.clear()


class DeliveredStore(Delivered):
    """The same of a zarr store, which is a folder."""

    def _write(self, path: Path, content: bytes) -> None:
        shutil.rmtree(path, ignore_errors=True)
        for name, text in json.loads(content).items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(text.encode("latin-1"))


def damaged_store(random: Random, texts: Sequence[bytes]) -> bytes:
    """Damage one file of a zarr store, or remove it."""
    files = json.loads(random.choice(texts))
    name = random.choice(list(files))
    content = files[name].encode("latin-1")
    if random.random() < 0.05:
        del files[name]
    elif name.endswith(".json") and random.random() < 0.7:
        files[name] = damaged_values(random, [content]).decode("latin-1")
    else:
        files[name] = damaged_bytes(random, [content]).decode("latin-1")
    return json.dumps(files).encode()


def store_fields(content: bytes) -> None:
    """Read fields of the store or of an archive."""
    DeliveredStore("zarr")._write(Path("fields.zarr"), content)
    try:
        open_fields(Path("fields.zarr"), first=("t",))
    except KoopcastError:
        return


def window(content: bytes) -> None:
    """Read the manifest of a window, check its files, and say how the cycle stands."""
    archive = Archive(Path("archive"))
    (archive.root / "windows").mkdir(parents=True, exist_ok=True)
    (archive.root / "data" / "20200101T060000Z-0123456789abcdef").mkdir(parents=True, exist_ok=True)
    (archive.root / "windows" / "20200101T060000Z.json").write_bytes(content)
    try:
        standing(archive).reports()
        archive.folder(archive.manifest("20200101T060000Z"))
    except KoopcastError:
        return


def identity(content: bytes) -> None:
    """Open the archive of a cycle."""
    archive = Archive(Path("opened"))
    archive.root.mkdir(exist_ok=True)
    (archive.root / "cycle.json").write_bytes(content)
    for fork in (False, True):
        try:
            archive.open({"options": "ab" * 32, "model": "ef" * 32}, fork=fork)
        except KoopcastError:
            continue


def ledger(content: bytes) -> None:
    """Go on from what an inbox remembers."""
    kept = Path("remembered")
    kept.mkdir(exist_ok=True)
    key = Inbox(SPEC, corpus.FIELDS, CLOCK, Path("none"))._key
    (kept / f"{key}-{'ab' * 32}.parquet").touch()
    (kept / "ledger.json").write_bytes(content.replace(b"KEY", key.encode()))
    inbox = Inbox(SPEC.model_copy(update={"path": "none/*"}), corpus.FIELDS, CLOCK, kept)
    inbox._key = key
    inbox.scan(3)
    inbox.windows(), inbox.totals(), inbox.faults()


def artefact(content: bytes) -> None:
    """Read the manifest of an artefact, and check its files."""
    folder = Path(f"dataset-{'ab' * 32}")
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(content)
    try:
        found = read_artefact(folder)
        if found is not None:
            faults(found, Path("memory/x.json"), deep=True)
    except KoopcastError:
        return


def run(content: bytes) -> None:
    """Read the record of a run, and what it refers to."""
    store = Store(Path("store").absolute())
    folder = store.all_runs / "sst" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_bytes(content)
    try:
        read_run(store, folder)
        found = open_run(store, "sst/latest")
        for step in found.record.steps.values():
            store.find(step.kind, step.key)
    except KoopcastError:
        return


def lock(content: bytes) -> None:
    """Compare the lock file of a run with another."""
    store = Store(Path("locked").absolute())
    folder = store.all_runs / "sst" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_bytes(corpus.runs()[0])
    (folder / "run.lock.yaml").write_bytes(content)
    try:
        list(differences(read_lock(store, "sst/1"), json.loads(corpus.locks()[0])))
    except KoopcastError:
        return


def restart(content: bytes) -> None:
    """Read the state from which a chain goes on."""
    Path("restart.safetensors").write_bytes(content)
    try:
        state = CycleState.restored(read_tensors(Path("restart.safetensors")))
    except KoopcastError:
        return
    torch.randn(700, generator=state.generator)


WHOLE = [corpus.SMALL, corpus.SWEPT, *corpus.pipelines()]
TEXTS = mixed(damaged_bytes, damaged_lines)
STATED = mixed(damaged_values, damaged_values, damaged_bytes)
TARGETS: dict[str, Target] = {
    "yaml": Target(yaml, [corpus.SMALL, corpus.SWEPT, corpus.CYCLE], TEXTS),
    "pipeline": Target(pipeline, WHOLE, TEXTS),
    "structure": Target(pipeline, corpus.as_json(WHOLE), damaged_values),
    "extended": Target(extended, [corpus.SMALL], TEXTS),
    "cycle": Target(cycle, corpus.cycles(), TEXTS),
    "windows": Target(cycle, corpus.as_json(corpus.cycles()), damaged_values),
    "override": Target(override, [text.encode() for text in OVERRIDES], words(PATHS)),
    "reference": Target(reference, [b"runs://sst/latest/dynamics", b"truth.test"], words(REFERENCES)),
    "expectation": Target(
        expectation, [b"rmse(m, lead=1) in [0.5, 2 * bias(m, variable=t)]"], words(CONDITION)
    ),
    "formula": Target(formula, [b"sqrt(t**2 + u**2) / (1 + exp(-t))"], words(TERMS)),
    "csv": Target(Delivered("csv"), corpus.csv(), TEXTS),
    "gz": Target(Delivered("csv.gz"), corpus.gz(), damaged_bytes),
    "parquet": Target(Delivered("parquet"), corpus.parquet(), damaged_bytes),
    "netcdf": Target(Delivered("nc"), corpus.netcdf(), damaged_bytes),
    "zarr": Target(DeliveredStore("zarr"), corpus.zarr(), damaged_store),
    "odb": Target(Delivered("odb"), corpus.odb(), damaged_bytes),
    "bufr": Target(DeliveredTogether("bufr"), corpus.bufr(), damaged_bytes),
    "manifest": Target(window, corpus.windows(), STATED),
    "identity": Target(identity, corpus.identities(), STATED),
    "ledger": Target(ledger, corpus.ledgers(), STATED),
    "artefact": Target(artefact, corpus.artefacts(), STATED),
    "run": Target(run, corpus.runs(), STATED),
    "lock": Target(lock, corpus.locks(), STATED),
    "fields": Target(store_fields, corpus.zarr(), damaged_store),
    "restart": Target(restart, corpus.restart(), damaged_bytes),
}
