"""Reports that come late, and in any order."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from koopcast.cycles.reports import Reason
from koopcast.errors import InvalidInput
from tasks.cycle import tick
from tests.flows.cycles.conftest import at, content, cycle, deliver, remove, reports


@pytest.mark.parametrize(("late", "again"), [("rerun", [3, 4, 5]), ("ignore", []), ("next", [])])
def test_late_reports(place: Path, late: str, again: list[int]) -> None:
    whole = reports(place, range(7))
    is_late = whole["time"].str.startswith("2020-01-01T23")
    whole[~is_late].to_csv(place / "inbox/a.csv", index=False)
    option = f"late={late}"
    before = tick(cycle(place, "twin", option), at(5)).done
    assert before[3].source == "forecast"
    whole[is_late].to_csv(place / "inbox/b.csv", index=False)
    ticked = tick(cycle(place, "twin", option), at(6))
    labels = [manifest.label for manifest in before]
    assert [manifest.label for manifest in ticked.done][:-1] == [labels[k] for k in again]
    last = ticked.done[-1].values["observations"]
    assert last["used"] == (24 if late == "next" else 12)
    if late == "rerun":
        # The chain is the one that had all reports from the start.
        late_bytes = content(cycle(place).archive)
        remove(cycle(place).archive)
        tick(cycle(place, "twin", option), at(6))
        assert content(cycle(place).archive) == late_bytes
    idle = tick(cycle(place, "twin", option), at(6))
    assert idle.done == []
    # Each report is counted: in a window, or as one that came too late for any.
    assert (ticked.outside, idle.outside) == (({"late": 12},) * 2 if late == "ignore" else ({}, {}))


def test_superobservations_do_not_come_late_again(place: Path) -> None:
    twice = pd.concat([reports(place, range(3), seed) for seed in (5, 6)])
    # The second instrument reports a little later: neither is a repeat of the other.
    twice["time"] = twice["time"].where(~twice.index.duplicated(), twice["time"].str.replace(":40:", ":41:"))
    twice.to_csv(place / "inbox/all.csv", index=False)
    options = ("late=next", "observations.thinning=mean")
    for window in range(3):
        (done,) = tick(cycle(place, "twin", *options), at(window)).done
        seen = dict(done.values["observations"])
        assert (seen["used"], seen["thinned"]) == (12, 12)
    feedback = cycle(place, "twin", *options).archive.feedback(done)
    pairs = feedback.groupby("cell")["delivered"].mean()
    kept = feedback[feedback["used"]].set_index("cell")["value"]
    assert np.allclose(kept.sort_index(), pairs.sort_index())


def test_late_reports_beyond_the_bound_change_nothing(place: Path) -> None:
    deliver(place, range(1, 6), "a.csv")
    tick(cycle(place), at(5))
    deliver(place, range(1), "b.csv")
    idle = tick(cycle(place), at(5))
    assert (idle.done, idle.outside) == ([], {"late": 12})


def test_late_reports_are_not_lost_where_a_rerun_was_killed_or_another_window_is_forced(place: Path) -> None:
    """The tick that has other windows to do again also takes on new ones, and leaves the bound behind."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    def late(window: int, minute: int) -> None:
        time = str(at(window) - pd.Timedelta(minutes=minute))
        table = reports(place, range(window, window + 1), seed=minute).assign(time=time)
        table.to_csv(place / "inbox" / f"late{window}-{minute}.csv", index=False)

    deliver(place, range(9))
    ready = cycle(place)
    tick(ready, at(5))
    late(3, 5)
    with pytest.raises(Killed):
        tick(cycle(place), at(5), then=kill)
    late(3, 7)
    tick(cycle(place), at(6))
    late(4, 5)
    tick(cycle(place), at(7), force=ready.archive.labels()[1])
    used = [manifest.values["observations"]["used"] for manifest in ready.archive.manifests()]
    assert used == [12, 12, 12, 36, 24, 12, 12, 12]
    assert ready.archive.faults() == []
    whole = cycle(place, "whole")
    tick(whole, at(7))
    for one, other in zip(ready.archive.manifests(), whole.archive.manifests(), strict=True):
        assert one.values["fields"] == other.values["fields"]


def test_the_order_of_arrival_changes_nothing(place: Path) -> None:
    deliver(place, range(4))
    ready = cycle(place)
    tick(ready, at(3))
    first = content(ready.archive)
    remove(ready.archive)
    whole = reports(place, range(4)).sample(frac=1, random_state=2)
    (place / "inbox/all.csv").unlink()
    for part in range(5):
        whole.iloc[part::5].to_csv(place / f"inbox/{9 - part}.csv", index=False)
    tick(cycle(place), at(3))
    assert content(ready.archive) == first


def test_files_that_are_moved_away_or_torn_later_change_no_window(place: Path) -> None:
    for window in range(4):
        deliver(place, range(window, window + 1), f"{window}.csv")
    ready = cycle(place)
    tick(ready, at(3))
    before = content(ready.archive)
    (place / "inbox" / "2.csv").unlink()
    (place / "inbox" / "3.csv").write_text("no table")
    again = tick(cycle(place), at(3))
    assert again.done == []
    assert list(again.faults) == [str(place / "inbox" / "3.csv")]
    assert content(ready.archive) == before
    # A corrected file in its place is what counts.
    reports(place, range(3, 4)).iloc[:6].to_csv(place / "inbox" / "3.csv", index=False)
    corrected = tick(cycle(place), at(3))
    assert [one.values["observations"]["used"] for one in corrected.done] == [6]
    assert corrected.faults == {}


@pytest.mark.parametrize("loss", ["all that was read", "the ledger", "files of what was read"])
def test_windows_whose_reports_are_known_no_more_stay_as_they_are(place: Path, loss: str) -> None:
    for window in range(4):
        deliver(place, range(window, window + 1), f"{window}.csv")
    ready = cycle(place)
    tick(ready, at(3))
    before = content(ready.archive)
    for path in (place / "inbox").iterdir():
        path.rename(place / path.name)
    kept = ready.archive.inbox
    gone = {"the ledger": [kept / "ledger.json"], "files of what was read": sorted(kept.glob("*.parquet"))}
    for path in gone.get(loss, []):
        path.unlink()
    if loss == "all that was read":
        shutil.rmtree(kept)
    deliver(place, range(4, 5), "4.csv")
    for done in (1, 0):
        ticked = tick(cycle(place), at(4))
        assert [manifest.source for manifest in ticked.done] == ["analysis"] * done
        after = content(ready.archive)
        assert {name: after[name] for name in before} == before
        told = [note for note in ticked.notes if "stays as it is" in note]
        # Of those that late reports can change still, the last three; the new one is whole.
        assert [note.split()[1] for note in told] == [
            ready.archive.labels()[k] for k in ((1, 2, 3), (2, 3))[1 - done]
        ]
    with pytest.raises(
        InvalidInput, match=f"reports that window {ready.archive.labels()[0]} used are known no"
    ):
        tick(cycle(place), at(4), force=ready.archive.labels()[0])
    # Delivered once more, they take late reports again; those before one that is not known do not.
    (place / "2.csv").rename(place / "inbox" / "again2.csv")
    reports(place, range(2, 3), seed=9).to_csv(place / "inbox" / "late2.csv", index=False)
    assert tick(cycle(place), at(4)).done == []
    late = reports(place, range(3, 4), seed=9).assign(time="2020-01-01T23:10:00")
    late.to_csv(place / "inbox" / "late.csv", index=False)
    (place / "3.csv").rename(place / "inbox" / "again.csv")
    corrected = tick(cycle(place), at(4)).done
    assert [one.label for one in corrected] == ready.archive.labels()[3:]
    assert corrected[0].values["observations"]["used"] == 24


def test_files_that_were_moved_away_stay_in_use_when_options_change(place: Path) -> None:
    deliver(place, range(4))
    ready = cycle(place)
    tick(ready, at(3))
    before = content(ready.archive)
    (place / "inbox" / "all.csv").rename(place / "moved.csv")
    for change in ("settle=0.01", "path=other/*.csv", "missing=[-1]"):
        assert tick(cycle(place, "twin", f"observations.{change}"), at(3)).done == []
    # Nor does a look with other options while a file is there that they read.
    deliver(place, range(4, 5), "next.csv")
    other = cycle(place, "twin", "observations.missing=[-1]")
    other.ticker.scan()
    assert tick(cycle(place), at(3)).done == []
    assert content(ready.archive) == before
    # Files that are there are read again, by the options as they are.
    (place / "moved.csv").rename(place / "inbox" / "again.csv")
    narrow = cycle(place, "twin", "observations.variables.X.bounds=[-3, 3]")
    narrow.ticker.scan()
    assert narrow.inbox.totals()["in_windows"] == 5 * 12
    assert (narrow.inbox.reports(1)["reason"] == Reason.OUT_OF_BOUNDS).any()


@pytest.mark.parametrize("is_moved", [False, True])
def test_reports_follow_their_times_where_windows_change(place: Path, is_moved: bool) -> None:
    """A look by other windows, such as a start that is mended after it, decides nothing."""
    deliver(place, range(8))
    cycle(place).ticker.scan()
    if is_moved:
        (place / "inbox" / "all.csv").rename(place / "moved.csv")
    changed = cycle(
        place, "twin", "cycle.start=2020-01-02T06:00", "cycle.window={begin: -PT3H, length: PT6H}"
    )
    assert [one.values["observations"]["used"] for one in tick(changed, at(7)).done] == [12, 12, 12]
    for manifest in changed.archive.manifests():
        times = changed.archive.feedback(manifest)["time"]
        begin, end = (pd.Timestamp(manifest.values[name]) for name in ("begin", "end"))
        assert ((times > begin) & (times <= end)).all()
    assert changed.inbox.sizes() == dict.fromkeys(range(4), 12)
    assert changed.inbox.totals() == {"in_windows": 48, "no_window": 48}
    back = cycle(place)
    back.inbox.scan()
    assert back.inbox.sizes() == dict.fromkeys(range(8), 12)


def test_what_was_read_before_the_key_of_each_file_was_noted_stays_in_use(place: Path) -> None:
    deliver(place, range(4))
    ready = cycle(place)
    tick(ready, at(3))
    ledger = ready.archive.inbox / "ledger.json"
    held = json.loads(ledger.read_text())
    key = held["files"][0].pop("key")
    ledger.write_text(json.dumps({"key": key, "files": held["files"]}))
    (place / "inbox" / "all.csv").unlink()
    assert tick(cycle(place), at(3)).done == []
