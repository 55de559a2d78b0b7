"""Cycles: windows from the archive, an inbox of dirty files, late reports, kills."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.cycle import make
from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare as prepare_pipeline
from flows.request import Request
from flows.run import carry_out
from koopcast.cycles.archive import FEEDBACK, Archive
from koopcast.cycles.reports import Reason
from koopcast.cycles.tick import Ticked
from koopcast.cycles.verification import verified, verify
from koopcast.errors import InvalidInput, StoreLocked
from koopcast.stores.arrays import open_fields
from koopcast.stores.files import open_data, read_table
from schemas.faults import PipelineInvalid
from tasks.cycle import Prepared, tick
from tasks.standing import standing
from tasks.status import climatology_of
from tests.flows.conftest import Command, Ended

TRUTH = """
name: ring
seed: 1
steps:
  truth:
    task: generate
    system: {kind: lorenz96, points: 12}
    steps: 400
    burn_in: 100
    dtype: float64
    split: {time: {train: ..9.95, test: 10..}}
"""
CYCLE = """
name: twin
seed: 3
model: runs://ring/latest/truth.system
observations:
  {kind: table, path: inbox/*.csv, error: {std: 0.5}, settle: 0, variables: {X: {bounds: [-30, 30]}}}
method: {kind: etkf, members: 16, inflation: {kind: multiplicative, factor: 1.04}, rotation: true}
cycle: {start: 2020-01-01T06:00, step: PT6H, record: PT6H}
forecast: {leads: [1, 2]}
max_catchup: 1000
threads: 1
"""
Go = Callable[..., Ticked]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a true model, and what it did."""
    folder = tmp_path_factory.mktemp("cycle")
    (folder / "ring.yaml").write_text(TRUTH)
    request = Request(pipeline=str(folder / "ring.yaml"), store=str(folder / "store"))
    result = carry_out(prepare_pipeline(request), InlineEngine(), Silent())
    assert result.state == "done"
    data = open_data(Path(str(result.steps["truth"].artefact)))
    np.save(folder / "truth.npy", data.part("test").tensor().numpy()[0, :, :, 0])
    return folder


@pytest.fixture(autouse=True)
def _without_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests tick often, and look at windows alone: drawing the page takes longer than those."""
    if "page" not in request.keywords:
        monkeypatch.setattr("tasks.cycle.write_page", lambda *_: None)


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    """A folder of its own with the store and a cycle's file."""
    for name in ("store", "truth.npy", "ring.yaml"):
        (tmp_path / name).symlink_to(home / name)
    (tmp_path / "inbox").mkdir()
    return tmp_path


def reports(place: Path, windows: range, seed: int = 5, std: float = 0.5) -> pd.DataFrame:
    """Noisy values of the truth at all cells, 20 minutes before the end of each window."""
    truth = np.load(place / "truth.npy")
    rows = []
    for window in windows:
        g = np.random.default_rng([seed, window])
        moment = pd.Timestamp("2020-01-01T05:40") + pd.Timedelta(hours=6 * window)
        values = truth[window + 1] + std * g.standard_normal(12)
        rows += [(moment.isoformat(), cell, value) for cell, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["time", "state", "value"])


def deliver(place: Path, windows: range, name: str = "all.csv") -> None:
    reports(place, windows).to_csv(place / "inbox" / name, index=False)


def cycle(place: Path, name: str = "twin", *overrides: str, text: str = CYCLE) -> Prepared:
    (place / f"{name}.yaml").write_text(text.replace("name: twin", f"name: {name}-{place.name}"))
    return make(place / f"{name}.yaml", overrides, str(place / "store"))


def at(window: int) -> pd.Timestamp:
    return pd.Timestamp("2020-01-01T06:00") + pd.Timedelta(hours=6 * window)


def content(archive: Archive) -> dict[str, str]:
    """Digest of every published file of an archive."""
    paths = [*archive.root.glob("windows/*")]
    for manifest in archive.manifests():
        paths += archive.folder(manifest).rglob("*")
    return {
        str(path.relative_to(archive.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }


@pytest.mark.page
def test_windows_are_analysed_in_order_and_beat_the_climatology(place: Path) -> None:
    deliver(place, range(40))
    ready = cycle(place)
    done = tick(ready, at(39)).done
    assert [manifest.label for manifest in done] == [ready.ticker._clock.name(k) for k in range(40)]
    assert [manifest.previous for manifest in done] == ["start", *(manifest.digest for manifest in done[:-1])]
    truth = np.load(place / "truth.npy")[1:41]
    analysis = ready.archive.fields("analysis")["X"].values.squeeze()
    error = np.sqrt(np.mean((analysis - truth) ** 2, axis=1))
    assert error[15:].mean() < 0.35
    feedback = read_table(ready.archive.folder(done[-1]) / FEEDBACK)
    assert len(feedback) == 12
    assert np.allclose(feedback["ob"], feedback["value"] - feedback["background"])
    assert feedback["oa"].std() < feedback["ob"].std()
    forecast = ready.archive.fields("forecast").isel(time=20)["X"]
    assert forecast["lead"].values.tolist() == [1, 2]
    assert np.sqrt(np.mean((forecast.values[0] - truth[21]) ** 2)) < 1
    assert np.sqrt(np.mean((forecast.values[1] - truth[22]) ** 2)) < 1.5
    assert ready.archive.faults() == []
    assert tick(cycle(place), at(39)).done == []
    errors = (
        verify(
            verified(
                ready.archive, list(ready.archive.manifests()), [1, 2], lambda: climatology_of(ready.training)
            )
        )
        .set_index(["lead", "against", "subject"])
        .sort_index()
    )
    assert set(errors["cases"]) == {39, 38}
    for against in ("analyses", "reports"):
        rmse = errors["rmse"].loc[1, against]
        assert rmse["forecast"] < 0.5 * rmse["persistence"]
        assert rmse["forecast"] < 0.5 * rmse["climatology"]
    page = (ready.archive.root / "status.html").read_text()
    assert "40" in page
    assert "Forecasts" in page
    now = standing(ready.archive)
    assert now.reports() == {"used": 480}
    assert now.gaps == []


def test_ticks_of_any_size_leave_the_same_bytes(place: Path) -> None:
    deliver(place, range(12))
    whole = cycle(place, "twin")
    tick(whole, at(11))
    first = content(whole.archive)
    remove(whole.archive)
    for window in range(12):
        tick(cycle(place, "twin"), at(window))
    assert content(whole.archive) == first
    remove(whole.archive)
    ticked = tick(cycle(place, "twin", "max_catchup=5"), at(11))
    assert (len(ticked.done), ticked.remaining) == (5, 7)
    tick(cycle(place, "twin"), at(11))
    assert content(whole.archive) == first


def remove(archive: Archive) -> None:
    shutil.rmtree(archive.root)


def test_a_window_without_reports_carries_the_forecast_on(place: Path) -> None:
    whole = reports(place, range(6))
    whole[~whole["time"].str.startswith("2020-01-01T17")].to_csv(place / "inbox/gap.csv", index=False)
    ticked = tick(cycle(place), at(5))
    assert [manifest.source for manifest in ticked.done] == ["analysis"] * 2 + ["forecast"] + ["analysis"] * 3
    assert ticked.warnings == [f"window {ticked.done[2].label}: 0 reports used"]
    folder = cycle(place).archive.folder(ticked.done[2])
    fields = open_fields(folder / "fields.zarr")
    assert (fields["X"].values == fields["X_background"].values).all()


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
    assert tick(cycle(place, "twin", option), at(6)).done == []


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
    feedback = read_table(cycle(place, "twin", *options).archive.folder(done) / FEEDBACK)
    pairs = feedback.groupby("cell")["delivered"].mean()
    kept = feedback[feedback["used"]].set_index("cell")["value"]
    assert np.allclose(kept.sort_index(), pairs.sort_index())


def test_late_reports_beyond_the_bound_change_nothing(place: Path) -> None:
    deliver(place, range(1, 6), "a.csv")
    tick(cycle(place), at(5))
    deliver(place, range(1), "b.csv")
    assert tick(cycle(place), at(5)).done == []


def test_dirt_of_a_day_ends_in_one_class_each(place: Path) -> None:
    good = reports(place, range(2))
    dirt = good.iloc[:8].copy()
    dirt["value"] = dirt["value"].astype(object)
    dirt["state"] = dirt["state"].astype(float)
    dirt.loc[0, "time"] = "soon"
    dirt.loc[1, "state"] = np.nan
    dirt.loc[2, "value"] = 9999
    dirt.loc[3, "value"] = 400.0
    dirt.loc[4, "state"] = 77.0
    dirt.loc[5, "value"] = "n/a"
    dirt.loc[6, "time"] = "2019-01-01T00:00"
    dirt.loc[7, "value"] = 1.25
    pd.concat([good, dirt]).to_csv(place / "inbox/dirt.csv", index=False)
    with (place / "inbox/dirt.csv").open("a") as file:
        file.write("2020-01-01T05:40:00,3,1.0,5,6,7\n2020-01-01T05:40:00,4,1.")
    (place / "inbox/again.csv").write_bytes((place / "inbox/dirt.csv").read_bytes())
    (place / "inbox/empty.csv").write_text("")
    (place / "inbox/picture.csv").write_bytes(bytes(range(256)))
    ready = cycle(place)
    ticked = tick(ready, at(1))
    assert len(ticked.faults) == 2
    seen = [dict(manifest.values["observations"]) for manifest in ticked.done]
    for counts in seen:
        counts.pop("digest")
    # A cell of a ring is always somewhere: 77 is 77 - 6 * 12.
    assert seen[0]["used"] == 13
    assert seen[0]["conflict"] == 1
    assert seen[0]["duplicate"] == 14
    totals = ready.inbox.totals()
    delivered = sum(delivery.rows for delivery in ready.inbox.deliveries.values())
    assert delivered == 2 * (24 + 8 + 2)
    assert (
        sum(sum(counts.values()) for counts in seen) + sum(totals.values()) - totals["in_windows"]
        == delivered
    )
    assert totals["no_time"] == 2
    assert totals["no_window"] == 2
    assert totals["torn"] == totals["malformed"] == 2
    assert seen[0]["no_value"] == 4
    assert seen[0]["out_of_bounds"] == 2


def test_a_gross_error_is_refused_by_the_background_check_and_named(place: Path) -> None:
    whole = reports(place, range(20))
    row = 12 * 19 + 5
    whole.loc[row, "value"] = whole.loc[row, "value"] + 9.0
    whole.to_csv(place / "inbox/all.csv", index=False)
    ready = cycle(place, "twin", "observations.qc={background_check: 4}")
    done = tick(ready, at(19)).done
    feedback = read_table(ready.archive.folder(done[-1]) / FEEDBACK)
    refused = feedback[~feedback["used"]]
    assert refused["state"].tolist() == [5.0]
    assert refused["reason"].tolist() == [Reason.BACKGROUND_CHECK]
    seen = dict(done[-1].values["observations"])
    assert (seen["used"], seen["background_check"]) == (11, 1)
    truth = np.load(place / "truth.npy")[20]
    analysis = ready.archive.fields("analysis")["X"].values.squeeze()[-1]
    assert abs(analysis[5] - truth[5]) < 1


def test_reports_between_points_are_of_both(place: Path) -> None:
    truth = np.load(place / "truth.npy")
    g = np.random.default_rng(4)
    middle = (truth + np.roll(truth, -1, axis=1)) / 2
    moments = [pd.Timestamp("2020-01-01T05:40") + pd.Timedelta(hours=6 * window) for window in range(16)]
    tables = [
        pd.DataFrame({"time": moment, "state": np.arange(12) + 0.49, "value": values})
        for moment, values in zip(moments, middle[1:17] + 0.3 * g.standard_normal((16, 12)), strict=True)
    ]
    pd.concat(tables).to_csv(place / "inbox/all.csv", index=False)
    errors = {}
    for position in ("nearest", "bilinear"):
        ready = cycle(place, position, f"observations.position={position}")
        assert all(manifest.source == "analysis" for manifest in tick(ready, at(15)).done)
        analysis = ready.archive.fields("analysis")["X"].values.squeeze()
        errors[position] = np.sqrt(np.mean((analysis[6:] - truth[7:17]) ** 2))
    assert errors["bilinear"] < 0.4
    assert errors["nearest"] > 2 * errors["bilinear"]
    with pytest.raises(PipelineInvalid, match="'nudging' takes values of cells alone"):
        cycle(place, "other", "observations.position=bilinear", "method={kind: nudging}")


def test_windows_from_the_climatology_do_not_depend_on_one_another(place: Path) -> None:
    deliver(place, range(4))
    option = "first_guess=climatology"
    whole = cycle(place, "whole", option)
    tick(whole, at(3))
    reports(place, range(3, 4)).to_csv(place / "inbox/all.csv", index=False)
    last = cycle(place, "last", option)
    assert [manifest.source for manifest in tick(last, at(3)).done] == ["forecast"] * 3 + ["analysis"]
    for quantity in ("analysis", "background", "forecast"):
        one, other = (ready.archive.fields(quantity)["X"].values for ready in (whole, last))
        assert (one[3] == other[3]).all()
        # Each window draws anew.
        assert not (one[3] == one[2]).any()
    chained = cycle(place, "chained")
    tick(chained, at(3))
    assert not (chained.archive.fields("background")["X"].values[3] == one[3]).all()


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


def test_a_window_by_force_changes_what_follows_from_it_alone(place: Path) -> None:
    deliver(place, range(5))
    ready = cycle(place)
    done = tick(ready, at(4)).done
    before = content(ready.archive)
    again = tick(cycle(place), at(4), force=done[2].label).done
    assert [manifest.label for manifest in again] == [done[2].label]
    assert content(ready.archive) == before
    with pytest.raises(InvalidInput, match="no window has the label"):
        tick(cycle(place), at(4), force="2020-01-01T07:00")


def test_a_second_writer_is_refused(place: Path) -> None:
    deliver(place, range(2))
    ready = cycle(place)
    lock = ready.archive.lock()
    assert lock.try_acquire()
    with pytest.raises(StoreLocked):
        tick(ready, at(1))
    lock.release()
    assert len(tick(ready, at(1)).done) == 2


def test_a_writer_that_is_told_to_wait_goes_on_when_the_first_is_done(place: Path) -> None:
    deliver(place, range(2))
    ready = cycle(place)
    lock = ready.archive.lock()
    assert lock.try_acquire()
    other = threading.Timer(0.3, lock.release)
    other.start()
    assert len(tick(ready, at(1), wait=60.0).done) == 2
    other.join()


def test_a_file_from_the_future_of_a_clock_that_was_set_back_is_read(place: Path) -> None:
    deliver(place, range(2))
    ahead = time.time() + 5 * 3600
    os.utime(place / "inbox/all.csv", (ahead, ahead))
    ticked = tick(cycle(place, "twin", "observations.settle=5"), at(1))
    assert (ticked.waiting, [manifest.source for manifest in ticked.done]) == ([], ["analysis"] * 2)
    now = time.time()
    os.utime(place / "inbox/all.csv", (now, now))
    assert len(tick(cycle(place, "twin", "observations.settle=60"), at(1)).waiting) == 1


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


def test_a_reanalysis_refuses_other_options_unless_it_forks(place: Path) -> None:
    deliver(place, range(6))
    text = CYCLE + "clock: reanalysis\n"
    assert len(tick(cycle(place, text=text), pd.Timestamp("2030-01-01")).done) == 6
    deliver(place, range(6, 8), "more.csv")
    changed = cycle(place, "twin", "method.members=20", text=text)
    with pytest.raises(InvalidInput, match="another options"):
        tick(changed, pd.Timestamp("2030-01-01"))
    same = cycle(place, "twin", "threads=1", "max_catchup=1", text=text)
    assert len(tick(same, pd.Timestamp("2030-01-01")).done) == 1
    identity = json.loads((changed.archive.root / "cycle.json").read_text())
    assert identity["forks"] == []


def test_a_smoother_analyses_the_window_of_the_cycle(place: Path) -> None:
    deliver(place, range(12))
    smoother = (
        "method={kind: ienks, members: 16, inflation: {kind: multiplicative, factor: 1.04}, rotation: true}"
    )
    ready = cycle(place, "twin", smoother)
    tick(ready, at(11))
    truth = np.load(place / "truth.npy")[1:13]
    analysis = ready.archive.fields("analysis")["X"].values.squeeze()
    assert np.sqrt(np.mean((analysis[8:] - truth[8:]) ** 2)) < 0.5


def test_all_faults_of_a_file_are_told_at_once(place: Path) -> None:
    text = (
        CYCLE.replace("step: PT6H,", "step: PT7H, window: {length: PT9H},").replace("std: 0.5", "std: -1")
        + "late: perhaps\nexpect: [rmse(cycle) < 1]\n"
    )
    with pytest.raises(PipelineInvalid) as caught:
        cycle(place, text=text)
    told = str(caught.value)
    assert all(word in told for word in ("window.length", "std", "perhaps"))
    with pytest.raises(PipelineInvalid) as caught:
        cycle(
            place,
            "twin",
            "cycle.step=PT7H",
            "observations.variables={T: {}}",
            text=CYCLE + "expect: [rmse(cycle) < 1]\n",
        )
    told = str(caught.value)
    assert all(
        word in told for word in ("no whole number of records", "no variable 'T'", "unknown metric 'rmse'")
    )


LONG = 180
TICK = """
import sys
from pathlib import Path
import pandas as pd
from flows.cycle import make
from tasks.cycle import tick
place = Path(sys.argv[1])
tick(make(place / "twin.yaml", (), str(place / "store")), pd.Timestamp(sys.argv[2]))
"""


@pytest.mark.slow
def test_kills_at_random_moments_leave_the_bytes_of_an_unbroken_chain(place: Path) -> None:
    deliver(place, range(LONG))
    ready = cycle(place)
    tick(ready, at(LONG - 1))
    whole = content(ready.archive)
    remove(ready.archive)
    g = np.random.default_rng(0)
    kills = 0
    for _ in range(200):
        process = subprocess.Popen(
            [sys.executable, "-c", TICK, str(place), str(at(LONG - 1))], env=os.environ
        )
        try:
            process.wait(timeout=float(g.uniform(2, 7)) if kills < 20 else 300)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(0.05)
    assert kills >= 8
    tick(cycle(place), at(LONG - 1))
    assert content(ready.archive) == whole
    assert ready.archive.faults() == []


def test_machines_that_share_a_bucket_go_on_with_one_archive_and_one_of_two_is_refused(
    place: Path, bucket_uri: str, koopcast: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(place, range(8))
    (place / "twin.yaml").write_text(CYCLE)
    ours = make(place / "twin.yaml", (), str(place / "store"))
    tick(ours, at(7))
    assert koopcast("run", str(place / "ring.yaml"), "--store", bucket_uri).returncode == 0

    def machine(name: str, command: str, *more: str) -> Ended:
        monkeypatch.setenv("KOOPCAST_CACHE", str(place / name))
        return koopcast(command, *more, "--store", bucket_uri)

    file = str(place / "twin.yaml")
    first = machine("here", "cycle", file, "--until", "2020-01-02T00:00")
    assert (first.returncode, first.stdout.count("analysis")) == (0, 4)
    second = machine("there", "cycle", file, "--until", "2020-01-03T00:00")
    assert (second.returncode, second.stdout.count("analysis")) == (0, 4)
    known = json.loads(machine("elsewhere", "status", "twin", "--json").stdout)
    assert (known["windows"], known["faults"]) == (8, [])
    theirs = make(file, (), bucket_uri)
    theirs.archive.pull()
    assert content(theirs.archive) == content(ours.archive)
    lock = theirs.archive.lock()
    assert lock.try_acquire()
    deliver(place, range(9))
    refused = machine("here", "cycle", file, "--until", "2020-01-03T06:00")
    assert refused.returncode == 1
    assert "is held by process" in refused.stderr
    lock.release()
    assert machine("here", "cycle", file, "--until", "2020-01-03T06:00").returncode == 0
    assert machine("there", "status", "twin", "--at", "2020-01-03T06:00").returncode == 0
