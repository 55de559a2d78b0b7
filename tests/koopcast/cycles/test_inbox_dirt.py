"""Dirty feeds: every record ends in exactly one class, and what is used is right."""

import errno
import gzip
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.cycle import START, Persistence, clock, globe
from benchmarks.dirt import SPOILT, STYLES, bomb, deliver, feed, spoil, unreadable
from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.initial import ClimatologySpec
from koopcast.cycles import inbox as module
from koopcast.cycles.archive import Archive
from koopcast.cycles.chain import Chain
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.inbox import Inbox
from koopcast.cycles.reports import Reason
from koopcast.cycles.tick import Ticker
from koopcast.cycles.work import Policy
from koopcast.errors import StoreDamaged

FIELDS = globe((12, 24))
END = START + pd.Timedelta(hours=6)


def opened(folder: Path, **options: object) -> Inbox:
    spec = TableInboxSpec.model_validate(
        {"path": str(folder / "inbox/*"), "settle": 0, "variables": {"t": {"bounds": [150, 350]}}, **options}
    )
    return Inbox(spec, FIELDS.info, clock(), folder / "kept")


def scanned(folder: Path, **options: object) -> Inbox:
    inbox = opened(folder, **options)
    inbox.scan()
    return inbox


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path


def classes(inbox: Inbox) -> dict[str, int]:
    """Records by class: of window 1 by reason, of window 0 as `elsewhere`, others as the inbox says."""
    seen = inbox.reports(1)["reason"].value_counts()
    found = {Reason(number).name.lower(): int(count) for number, count in seen.items()}
    assert inbox.totals()["in_windows"] == int(seen.sum()) + len(inbox.reports(0))
    for name, count in {**inbox.totals(), "elsewhere": len(inbox.reports(0))}.items():
        found[name] = found.get(name, 0) + count
    del found["in_windows"]
    return {name: count for name, count in found.items() if count}


def expected(records: pd.DataFrame, **more: int) -> dict[str, int]:
    found = records["expected"].value_counts().astype(int).to_dict()
    for name, count in more.items():
        found[name] = found.get(name, 0) + count
    return found


@pytest.mark.parametrize("style", STYLES)
def test_every_record_ends_in_its_class_whatever_the_style_of_the_file(place: Path, style: str) -> None:
    records = feed(1200, END, seed=STYLES.index(style))
    deliver(records, place / "inbox" / "feed.csv", style)
    inbox = scanned(place)
    assert inbox.faults() == {}
    assert classes(inbox) == expected(records)
    assert sum(delivery.rows for delivery in inbox.deliveries.values()) == len(records)
    reports = inbox.reports(1).set_index("station")
    used = reports[reports["reason"] == Reason.USED]
    truth = records.drop_duplicates("station").set_index("station").loc[used.index]
    assert len(used) > 300
    assert np.allclose(used["value"], truth["truth"], atol=1e-4)
    assert np.allclose(used["error"], 1)
    assert used["time"].between(END - pd.Timedelta(hours=6), END).all()
    assert np.allclose(used["latitude"], truth["latitude"].astype(float))


def test_malformed_lines_headers_and_remarks_change_no_other_record(place: Path) -> None:
    records = feed(600, END, seed=50)
    path = deliver(records, place / "inbox" / "feed.csv", "plain")
    before = scanned(place).reports(1)
    assert spoil(path) == len(SPOILT)
    with path.open("a") as file:
        file.write("1.0,K,280.0,t,X,1.0,3.0,2020-01-01T05")
    inbox = scanned(place)
    assert classes(inbox) == expected(records, malformed=len(SPOILT), torn=1)
    assert inbox.deliveries[str(path)].rows == len(records) + len(SPOILT) + 1
    pd.testing.assert_frame_equal(inbox.reports(1), before)


SOUND = "2020-01-01T05:40:00,3,{},t,280\n"


@pytest.mark.parametrize(
    ("lines", "used", "rest"),
    [
        ('"#12",' + SOUND.format(1), 1, {}),
        ('5" mast,' + SOUND.format(1) + '"a ""b""",' + SOUND.format(2) + '"c\nd",' + SOUND.format(3),
         2, {"malformed": 1}),
        ('"a,' + SOUND.format(1) + '"b",' + SOUND.format(2), 1, {"malformed": 1}),
        ('# 5" mast\n"a",' + SOUND.format(1) + '# "b"\n', 1, {}),
        ('"a",' + SOUND.format(1) + ",,,,,\n" * 3, 1, {"no_time": 3}),
        ("a," + SOUND.format(1) + ",,,,,\n" * 3, 1, {"no_time": 3}),
        (("a," + SOUND.format(1) + ",,,,,\n" * 3).replace(",", "\t"), 1, {"no_time": 3}),
        ('"' + 200_000 * "a" + '",' + SOUND.format(1) + "b," + SOUND.format(2), 1, {"malformed": 1}),
    ],
    ids=["hash", "inner quote", "open quote", "remark", "empty, quotes", "empty", "empty, tabs", "long"],
)  # fmt: skip
def test_quotes_remarks_and_empty_fields_lose_no_record(
    place: Path, lines: str, used: int, rest: dict[str, int]
) -> None:
    header = "station,time,latitude,longitude,variable,value\n"
    text = header.replace(",", "\t" if "\t" in lines else ",") + lines
    (place / "inbox" / "feed.csv").write_text(text)
    inbox = scanned(place)
    assert inbox.faults() == {}
    assert [len(inbox.reports(0)), classes_of_rest(inbox)] == [used, rest]
    assert (inbox.reports(0)["reason"] == Reason.USED).all()


def test_files_of_which_nothing_can_be_used_are_named_and_stop_nothing(place: Path) -> None:
    records = feed(100, END, seed=51)
    deliver(records, place / "inbox" / "good.csv", "plain")
    words = unreadable(place / "inbox")
    inbox = scanned(place)
    faults = {Path(path).name: fault for path, fault in inbox.faults().items()}
    assert set(faults) == set(words)
    assert {name: fault for name, fault in faults.items() if words[name] not in fault} == {}
    assert classes(inbox) == expected(records)
    # Read once: the next scan looks only at those that the file system did not give.
    kept = dict(inbox.deliveries)
    inbox.scan()
    assert inbox.deliveries == kept


def test_a_bomb_is_not_unpacked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("koopcast.cycles.texts.FREE_BYTES", 2**20)
    content = bomb(64 * 2**20)
    assert len(content) < 2**19
    (place / "inbox/bomb.csv.gz").write_bytes(content)
    (fault,) = scanned(place).faults().values()
    assert f"more than {2**20 + 200 * len(content)} bytes" in fault


def test_reports_that_cannot_be_kept_stop_the_tick_and_are_no_fault_of_their_file(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = feed(100, END, seed=53)
    deliver(records, place / "inbox" / "feed.csv", "plain")

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    inbox = opened(place)
    with monkeypatch.context() as patch:
        patch.setattr(module, "sync", full)
        with pytest.raises(OSError, match="No space left"):
            inbox.scan()
    inbox = opened(place)
    inbox.scan()
    assert inbox.faults() == {}
    assert classes(inbox) == expected(records)


def test_a_file_that_could_not_be_read_is_tried_again_as_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = feed(100, END, seed=52)
    path = deliver(records, place / "inbox" / "feed.csv", "plain")

    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    inbox = opened(place)
    with monkeypatch.context() as patch:
        patch.setattr(module, "content_of", refused)
        inbox.scan()
        assert "Permission denied" in inbox.faults()[str(path)]
        assert inbox.windows() == []
    inbox.scan()
    assert inbox.faults() == {}
    assert classes(inbox) == expected(records)


@pytest.mark.parametrize("change", ["removed", "longer"])
def test_a_file_that_changes_while_it_is_read_is_not_used_half(
    place: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = feed(200, END, seed=53)
    path = deliver(records.iloc[:100], place / "inbox" / "feed.csv", "plain")
    whole = deliver(records, place / "whole.csv", "plain")
    real = module.read_delivery

    def changing(read: Path, layout: object) -> object:
        if change == "removed":
            path.unlink()
        else:
            shutil.copy(whole, path)
        return real(read, layout)

    inbox = opened(place)
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_delivery", changing)
        inbox.scan()
    assert inbox.windows() == []
    assert inbox.faults() == {}
    inbox.scan()
    assert classes(inbox) == ({} if change == "removed" else expected(records))


def test_what_was_read_of_a_file_that_changed_does_not_stand_for_what_it_was(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = feed(200, END, seed=62)
    path = deliver(records, place / "inbox" / "feed.csv", "plain")
    whole = path.read_bytes()
    real = module.read_delivery

    def cut(read: Path, layout: object) -> object:
        path.write_bytes(whole[: len(whole) // 2])
        return real(read, layout)

    inbox = opened(place)
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_delivery", cut)
        inbox.scan()
    path.write_bytes(whole)
    inbox.scan()
    assert classes(inbox) == expected(records)


def test_a_longer_file_replaces_a_shorter_and_a_second_name_adds_duplicates(place: Path) -> None:
    records = feed(200, END, seed=54)
    records = records[records["expected"] == "used"].reset_index(drop=True)
    path = deliver(records.iloc[:50], place / "inbox" / "a.csv", "plain")
    inbox = scanned(place)
    assert classes(inbox) == {"used": 50}
    deliver(records, path, "plain")
    inbox.scan()
    assert classes(inbox) == {"used": len(records)}
    (place / "inbox/b.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    inbox.scan()
    assert classes(inbox) == {"used": len(records), "duplicate": len(records)}


def test_missing_numbers_are_known_before_units_are_converted(place: Path) -> None:
    lines = "time,latitude,longitude,variable,value,error\n" + "".join(
        f"2020-01-01T05:0{row}:00Z,1,2,t,{value},{error}\n"
        for row, (value, error) in enumerate([("9999", "1"), ("999.0", "1"), ("6.85", "-9999"), ("7", "2")])
    )
    (place / "inbox/a.csv").write_text(lines)
    reports = scanned(place, variables={"t": {"units": "degC"}}).reports(0)
    assert reports["reason"].tolist() == [Reason.NO_VALUE] * 2 + [Reason.USED] * 2
    assert np.allclose(reports["value"][2:], [280.0, 280.15])
    assert np.allclose(reports["error"][2:], [1.0, 2.0])


def test_dates_and_hours_may_stand_in_two_columns_and_numbers_are_times_in_stated_units(place: Path) -> None:
    (place / "inbox/a.csv").write_text(
        "Date,Time,Lat,Lon,t\n2020-01-01,05:30,1,2,281\n20200101,0530,1,3,282\n2020-01-01,soon,1,3,282\n"
    )
    (place / "inbox/b.csv").write_text("time,lat,lon,t\n438293.5,1,4,283\n1e40,1,4,283\n,1,4,283\n")
    inbox = scanned(place, time={"units": "hours since 1970-01-01"})
    reports = inbox.reports(0)
    assert reports["value"].tolist() == [281, 282, 283]
    assert (reports["time"] == pd.Timestamp("2020-01-01T05:30")).all()
    assert classes_of_rest(inbox) == {"no_time": 3}
    # Without units, a number is no time.
    assert classes_of_rest(scanned(place)) == {"no_time": 4}


def classes_of_rest(inbox: Inbox) -> dict[str, int]:
    return {name: count for name, count in inbox.totals().items() if name != "in_windows"}


def cycled(folder: Path, parts: list[tuple[pd.DataFrame, str]], ticks: int) -> dict[str, str]:
    """Digests of the archive after files have come one after another, in so many ticks."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "inbox").mkdir(parents=True)
    chain = Chain(
        Persistence(FIELDS.info), ETKFSpec(members=6), ClimatologySpec(), FIELDS, clock(), 1, 0,
        thinning="mean", position="bilinear",
    )  # fmt: skip
    archive = Archive(folder / "archive")
    archive.open({})
    spec = opened(folder)._spec
    for group in np.array_split(np.arange(len(parts)), ticks):
        for number in group:
            records, style = parts[number]
            deliver(records, folder / "inbox" / f"{number}.csv", style)
        inbox = Inbox(spec, FIELDS.info, chain.clock, archive.inbox)
        Ticker(chain, inbox, archive, Policy()).run(END)
    assert archive.faults() == []
    paths = sorted(path for path in archive.root.glob("windows/*"))
    assert len(paths) == 2
    for manifest in archive.manifests():
        paths += [path for path in archive.folder(manifest).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(archive.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_order_split_and_style_of_files_change_no_byte_of_the_archive(
    place: Path, data: st.DataObject
) -> None:
    records = feed(data.draw(st.integers(40, 300)), END, seed=data.draw(st.integers(0, 10**6)))
    whole = cycled(place / "cycle", [(records, "plain")], 1)
    order = np.array(data.draw(st.permutations(range(len(records)))))
    count = data.draw(st.integers(1, 4))
    styles = data.draw(st.lists(st.sampled_from(STYLES), min_size=count, max_size=count))
    rows = np.array_split(order, count)
    parts = [(records.iloc[own], style) for own, style in zip(rows, styles, strict=True)]
    assert cycled(place / "cycle", parts, data.draw(st.integers(1, count))) == whole


def test_an_empty_folder_and_a_link_that_leads_nowhere_are_named(place: Path) -> None:
    (place / "inbox/empty.csv").mkdir()
    (place / "inbox/gone.csv").symlink_to(place / "gone.csv")
    inbox = scanned(place)
    assert [Path(path).name for path in inbox.faults()] == ["empty.csv", "gone.csv"]
    (place / "inbox/gone.csv").unlink()
    inbox.scan()
    assert [Path(path).name for path in inbox.faults()] == ["empty.csv"]


def test_a_folder_is_named_as_one(place: Path) -> None:
    deliver(feed(20, END, seed=63), place / "inbox" / "a.csv", "plain")
    (fault,) = scanned(place, path=str(place / "inbox")).faults().values()
    assert fault == "'inbox' is a folder; name the files in it: `inbox/*`"


def test_a_name_that_is_no_text_stops_nothing(place: Path) -> None:
    records = feed(100, END, seed=61)
    for name in (b"a\xff.csv", b"a\n.csv"):
        deliver(records, place / "inbox" / os.fsdecode(name), "plain")
    store = place / "inbox" / "a.zarr"
    xr.Dataset({"time": ("obs", [1.0])}).to_zarr(store, consolidated=False)
    (store / os.fsdecode(b"\xff")).write_bytes(b"left")
    inbox = scanned(place)
    assert list(inbox.faults()) == [str(store)]
    assert classes(inbox)["used"] == expected(records)["used"]


def test_the_longest_column_of_times_counts_beside_one_of_dates(place: Path) -> None:
    for number, name in enumerate(("datetime", "timestamp", "valid_time")):
        (place / f"inbox/{number}.csv").write_text(
            f"date,{name},lat,lon,t\n2020-01-01,2020-01-01T05:30Z,1,{number},280\n"
        )
    assert scanned(place).reports(0)["time"].tolist() == [pd.Timestamp("2020-01-01T05:30")] * 3


def test_flags_and_names_are_the_same_as_whole_numbers_and_as_fractions(place: Path) -> None:
    rows = {"time": pd.Timestamp("2020-01-01T05:30"), "lat": 1.0, "lon": [1.0, 2.0, 3.0], "value": 280.0}
    names = {"station": [7.0, 8.0, np.nan], "varno": [39.0, 39.0, np.nan], "qc": [0.0, 1.0, np.nan]}
    pd.DataFrame({**rows, **names}).to_parquet(place / "inbox/a.parquet")
    pd.DataFrame({**rows, **names}).to_csv(place / "inbox/b.csv", index=False)
    inbox = scanned(place, accept_qc=[0], variables={"t": {"name": "39"}})
    reports = inbox.reports(0)
    assert reports["reason"].tolist()[2:] == [Reason.USED, Reason.DUPLICATE, *[Reason.PROVIDER_FLAG] * 2]
    assert reports["station"].tolist() == ["", "", "7", "7", "8", "8"]


def test_parquet_has_the_columns_of_its_file_alone(place: Path) -> None:
    rows = {"time": [pd.Timestamp("2020-01-01T05:30")], "lat": [1.0], "lon": [2.0], "t": [280.0]}
    folder = place / "inbox/station=A"
    folder.mkdir()
    pd.DataFrame(rows).set_index(["time", "lat"]).to_parquet(folder / "a.parquet")
    inbox = scanned(place, path=str(folder / "*.parquet"))
    assert inbox.faults() == {}
    assert inbox.reports(0)[["value", "station"]].to_numpy().tolist() == [[280.0, ""]]


def test_what_is_kept_of_a_file_is_named_where_it_is_damaged(place: Path) -> None:
    deliver(feed(20, END, seed=60), place / "inbox/a.csv", "plain")
    inbox = scanned(place)
    (kept,) = (place / "kept").glob("*.parquet")
    kept.write_bytes(b"nothing")
    with pytest.raises(StoreDamaged, match=r"parquet' cannot be read .*remove it, and the next tick reads"):
        inbox.reports(1)
    kept.unlink()
    assert len(scanned(place).reports(1)) > 0
