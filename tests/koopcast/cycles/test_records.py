"""Files that somebody altered: nothing outside of their folder is read, and the fault is named."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from koopcast.cycles.archive import Archive
from koopcast.cycles.clock import Clock, parse_moment
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.inbox import Inbox
from koopcast.cycles.readers import read_delivery
from koopcast.errors import DataError, InvalidInput, StoreDamaged
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.stores import Store
from koopcast.stores.layout import Layout
from koopcast.stores.runs import read_run
from koopcast.times import parse_duration
from tasks.cycle import archive_of
from tests.fuzz import corpus

LABEL = "20200101T060000Z"
CLOCK = Clock(parse_moment("2020-01"), *map(parse_duration, ("P1M", "-P1M", "P1M", "PT0S")))
FIELDS = FieldsInfo({"t": "1"}, (Axis("x", 4),), TimeAxis(3, 1.0))


def archive(place: Path, **changes: Any) -> Archive:
    """Return an archive with one window, whose manifest says what it did but for the changes."""
    values = {**json.loads(corpus.windows()[0]), **changes}
    result = Archive(place / "archive")
    (result.root / "windows").mkdir(parents=True)
    (result.root / "data" / json.loads(corpus.windows()[0])["data"]).mkdir(parents=True)
    (result.root / "windows" / f"{LABEL}.json").write_text(json.dumps(values))
    return result


@pytest.mark.parametrize(
    "change",
    [
        {"data": "../../../../etc"},
        {"data": "/etc"},
        {"data": "."},
        {"files": {"../../../etc/passwd": "ab" * 32}},
        {"files": {"/etc/passwd": "ab" * 32}},
        {"files": {"": "ab" * 32}},
        {"files": {"x" * 300: "ab" * 32}},
        {"files": {"a": "no digest"}},
        {"label": "20200101T120000Z"},
        {"source": "guess"},
        {"observations": {"digest": "x", "used": -1}},
        {"observations": {"used": 1}},
        {"monitors": {"ob_rms": "1"}},
        {"monitors": None},
        {"previous": 1},
    ],
)
def test_an_altered_manifest_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(StoreDamaged, match=LABEL):
        archive(tmp_path, **change).manifest(LABEL)


def test_a_manifest_as_it_was_written_is_taken(tmp_path: Path) -> None:
    assert archive(tmp_path).manifest(LABEL).source == "analysis"
    assert archive(tmp_path / "more", note=1).manifest(LABEL).values["note"] == 1


@pytest.mark.parametrize(
    "held", [[], {"format": 1}, {"format": 1, "identity": {"options": 3}, "forks": []}, "x", 1]
)
def test_an_altered_identity_is_refused(tmp_path: Path, held: Any) -> None:
    (tmp_path / "cycle.json").write_text(json.dumps(held))
    with pytest.raises(StoreDamaged, match=r"cycle\.json"):
        Archive(tmp_path).open({"options": "a", "model": "b"})


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", '{"key": 1, "files": 2}', "\udcff"])
def test_a_damaged_ledger_is_made_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    inbox = Inbox(TableInboxSpec(path="none/*"), FIELDS, CLOCK, tmp_path)
    inbox.scan(7)
    assert (inbox.deliveries, inbox.since) == ({}, 7)
    inbox.scan(9)
    assert inbox.since == 7


@pytest.mark.parametrize(
    "change",
    [{"digest": "../../../../x"}, {"windows": {"x": 1}}, {"rejected": {"late": -1}}, {"rows": None}],
)
def test_a_ledger_that_was_altered_is_made_again(tmp_path: Path, change: dict[str, Any]) -> None:
    spec = TableInboxSpec(path="none/*")
    (tmp_path / "secret.parquet").touch()
    kept = tmp_path / "kept"
    key = Inbox(spec, FIELDS, CLOCK, kept)._key
    entry = {**json.loads(corpus.ledgers()[0])["files"][0], "windows": {}}
    kept.mkdir()
    (kept / f"{key}-{entry['digest']}.parquet").touch()
    inbox = Inbox(spec, FIELDS, CLOCK, kept)
    for given, files, since in ((entry, 1, 0), ({**entry, **change}, 0, 7)):
        (kept / "ledger.json").write_text(json.dumps({"key": key, "files": [given]}))
        inbox.scan(7)
        assert (len(inbox.deliveries), inbox.since) == (files, since)


@pytest.mark.parametrize("name", ["../../etc", "/etc", ".", "..", "a/b", "", "a\n"])
def test_the_name_of_a_cycle_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="no name of a cycle"):
        archive_of(Store.open(tmp_path / "store"), name)


def test_the_record_of_a_run_names_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "other" / "1"
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(corpus.runs()[0])
    with pytest.raises(StoreDamaged, match=r"record\.json of sst/1"):
        read_run(Layout(tmp_path), folder)


def layout() -> Any:
    return TableInboxSpec(path="x").layout(FIELDS)


@pytest.mark.parametrize(
    "codecs", [{"filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]}, {"compressor": {"id": "pickle"}}]
)
def test_a_zarr_store_with_pickles_runs_nothing(tmp_path: Path, codecs: dict[str, Any]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "sprung",)

    store = tmp_path / "x.zarr"
    (store / "t").mkdir(parents=True)
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    array = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "order": "C",
        "fill_value": "",
        "compressor": None,
        "filters": None,
    }
    (store / "t" / ".zarray").write_text(json.dumps({**array, **codecs}))
    (store / "t" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["x"]}')
    (store / "t" / "0").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(Exception, match=r"[Pp]ickle"):
        read_delivery(store, layout())
    assert not (tmp_path / "sprung").exists()


def test_files_that_claim_to_be_huge_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    parquet = tmp_path / "a.parquet"
    pd.DataFrame({"value": np.zeros(50_000_001, dtype=bool)}).to_parquet(parquet)
    assert parquet.stat().st_size < 10**6
    (tmp_path / "wide.csv").write_text("," * 20_000 + "\n1\n")
    for name in ("a.parquet", "wide.csv"):
        with pytest.raises(DataError, match="values are read"):
            read_delivery(tmp_path / name, layout())


def test_a_damaged_length_in_a_table_asks_for_no_more_than_there_is(tmp_path: Path) -> None:
    whole = corpus.odb()[0]
    place = whole.index(b"908620df") - 4 if b"908620df" in whole else 17
    for at in (place, place + 36, place + 52):
        damaged = whole[:at] + (2**31 - 1).to_bytes(4, "little") + whole[at + 4 :]
        (tmp_path / "x.odb").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            read_delivery(tmp_path / "x.odb", layout())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"restarts": [[0, 5]]}, "restarts.0.0: Input should be greater than"),
        ({"restarts": [[2]]}, "restarts.0: List should have at least 2 items"),
        ({"windows": "5"}, "windows: Input should be a valid integer"),
        ({"first": 3}, "first"),
        ({"cleared": float("inf")}, "cleared: Input should be a valid integer"),
    ],
)
def test_a_record_of_what_was_removed_that_makes_no_sense_is_named(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    damaged = archive(tmp_path)
    good = {"windows": 0, "first": "", "previous": "start", "restarts": [[2, 4]], "cleared": 0}
    (damaged.root / "removed.json").write_text(json.dumps(good))
    assert damaged.labels() == [LABEL]
    (damaged.root / "removed.json").write_text(json.dumps({**good, **change}))
    with pytest.raises(StoreDamaged, match=f"removed.json': {told}"):
        damaged.faults()
