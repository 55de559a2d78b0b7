"""How a cycle stands: one word for what its archive, its last tick and the clock say, and its pages."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from flows.cli import app
from flows.cycle import make
from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare as prepare_pipeline
from flows.request import Request
from flows.run import carry_out
from koopcast.cycles.archive import FEEDBACK, TICK, Archive, Manifest
from koopcast.cycles.statistics import statistics
from koopcast.cycles.verification import KEPT
from koopcast.cycles.work import Ticked
from koopcast.errors import Diverged, StoreDamaged
from koopcast.report import Section
from koopcast.stores.files import open_data, read_table, write_table
from tasks.cycle import Prepared, tick
from tasks.standing import standing
from tasks.status import PAGE, write_report

TRUTH = """
name: ring
seed: 1
steps:
  truth:
    task: generate
    system: {kind: lorenz96, points: 12}
    steps: 200
    burn_in: 100
    dtype: float64
    split: {time: {train: ..4.95, test: 5..}}
"""
CYCLE = """
name: twin
description: A ring of 12 points.
seed: 3
model: runs://ring/latest/truth.system
observations: {kind: table, path: inbox/*.csv, error: {std: 0.5}, settle: 0, qc: {background_check: 6}}
method: {kind: etkf, members: 16, inflation: {kind: multiplicative, factor: 1.04}, rotation: true}
cycle: {start: 2020-01-01T06:00, step: PT6H, record: PT6H, cutoff: PT30M}
forecast: {leads: [1, 2]}
threads: 1
"""
WINDOWS = 8
BIAS = 2.5
"""Of the bad instrument."""


def at(window: int, minutes: int = 30) -> pd.Timestamp:
    """The moment at which a window falls due."""
    return pd.Timestamp("2020-01-01T06:00") + pd.Timedelta(hours=6 * window, minutes=minutes)


def name(window: int) -> str:
    return f"{at(window, 0):%Y%m%dT%H%M%SZ}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a true model and a cycle of some windows; station S7 reports too much."""
    folder = tmp_path_factory.mktemp("status")
    (folder / "ring.yaml").write_text(TRUTH)
    request = Request(pipeline=str(folder / "ring.yaml"), store=str(folder / "store"))
    result = carry_out(prepare_pipeline(request), InlineEngine(), Silent())
    truth = open_data(Path(str(result.steps["truth"].artefact))).part("test").tensor().numpy()[0, :, :, 0]
    rng = np.random.default_rng(5)
    rows = [
        (at(window, -20), f"S{cell}", cell, truth[window + 1, cell] + 0.5 * rng.standard_normal())
        for window in range(WINDOWS + 4)
        for cell in range(12)
    ]
    table = pd.DataFrame(rows, columns=["time", "station", "state", "value"])
    table.loc[table["station"] == "S7", "value"] += BIAS
    (folder / "inbox").mkdir()
    table.to_csv(folder / "inbox/all.csv", index=False)
    (folder / "twin.yaml").write_text(CYCLE)
    tick(made(folder), at(WINDOWS - 1))
    return folder


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    return tmp_path


def made(place: Path) -> Prepared:
    return make(place / "twin.yaml", (), str(place / "store"))


def archive(place: Path) -> Archive:
    return Archive(place / "store" / "cycles" / "twin")


def scores(ours: Archive) -> pd.DataFrame:
    """What was verified, in one order."""
    held = read_table(ours.root / KEPT)
    return held.sort_values(list(held.columns), ignore_index=True)


def status(place: Path, *options: str) -> tuple[int, str]:
    command = ["status", "twin", "--store", str(place / "store"), *options]
    result = CliRunner().invoke(app, command)
    return result.exit_code, result.stdout


def facts(place: Path, *options: str) -> dict[str, object]:
    return dict(json.loads(status(place, "--json", *options)[1]))


@pytest.mark.parametrize(
    ("moment", "options", "behind", "state", "code"),
    [
        ("2020-01-03T06:29", (), 0, "well", 0),
        ("2020-01-03T06:30", (), 1, "well", 0),
        ("2020-01-03T06:30", ("--max-behind", "0"), 1, "behind", 4),
        ("2020-01-04T00:30", (), 4, "behind", 4),
        ("2020-01-04T00:29", ("--max-behind", "3"), 3, "well", 0),
    ],
)
def test_windows_that_are_due_and_not_there_are_counted_from_the_archive_alone(
    place: Path, moment: str, options: tuple[str, ...], behind: int, state: str, code: int
) -> None:
    (place / "twin.yaml").unlink()
    shutil.rmtree(place / "store" / "artefacts")
    found = facts(place, "--at", moment, *options)
    assert (found["behind"], found["state"]) == (behind, state)
    assert (found["windows"], found["last"]) == (WINDOWS, name(WINDOWS - 1))
    assert found["next_due"] == "2020-01-03T06:30:00Z"
    exit_code, text = status(place, "--at", moment, *options)
    assert exit_code == code
    assert text.startswith(f"twin: {state}\n")
    assert "behind: " + str(behind) in text


def test_whatever_is_damaged_is_named_and_is_the_worst(place: Path) -> None:
    now = ("--at", "2020-01-03T06:00")
    ours = archive(place)
    manifest = ours.manifest(name(2))
    feedback = ours.folder(manifest) / FEEDBACK
    whole = feedback.read_bytes()
    feedback.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = facts(place, *now)
    assert found["state"] == "damaged"
    assert found["faults"] == [f"window {name(2)}: file feedback.parquet is missing or altered"]
    assert status(place, *now)[0] == 1
    assert facts(place, "--quick", *now)["state"] == "well"
    feedback.write_bytes(whole)
    assert status(place, *now)[0] == 0
    (ours.root / "windows" / f"{name(3)}.json").write_text("{}")
    found = facts(place, "--quick", *now)
    assert found["state"] == "damaged"
    assert f"{name(3)}.json': label: Field required" in str(found["faults"])
    (ours.root / "windows" / f"{name(3)}.json").unlink()
    found = facts(place, "--quick", *now)
    assert (found["state"], found["missing"], found["faults"]) == ("damaged", [name(3)], [])
    assert found["concerns"] == []
    # The next tick refuses to go on; its page says why, and does not take other windows for those ahead.
    verified = read_table(ours.root / KEPT)
    with pytest.raises(StoreDamaged):
        tick(made(place), at(WINDOWS))
    page = (ours.root / PAGE).read_text()
    assert f"window {name(3)} is missing between others" in page
    assert '<span class="state bad">damaged</span>' in page
    pd.testing.assert_frame_equal(read_table(ours.root / KEPT), verified)
    assert f"missing between others: 1, the last: {name(3)}" in status(place, *now)[1]


def test_reports_that_were_altered_are_in_no_report_and_in_no_score(place: Path) -> None:
    """A table with other numbers is a table: only its digest tells."""
    ours = archive(place)
    manifest = ours.manifest(name(2))
    path = ours.folder(manifest) / FEEDBACK
    whole, verified = path.read_bytes(), scores(ours)
    write_table(path, ours.feedback(manifest).assign(value=0.0))
    (ours.root / KEPT).unlink()
    told = f"the table of reports that window {name(2)} left is altered"
    with pytest.raises(StoreDamaged, match=told):
        write_report(ours)
    with pytest.raises(StoreDamaged, match=told):
        tick(made(place), at(WINDOWS - 1))
    path.write_bytes(whole)
    tick(made(place), at(WINDOWS - 1))
    pd.testing.assert_frame_equal(scores(ours), verified)


def test_a_file_of_any_name_that_cannot_be_read_stops_no_tick_and_acts_on_no_terminal(place: Path) -> None:
    for evil in (b"F\xe4lle.csv", b"x\x1b]0;title\x07\nFAULT  forged.csv", b"<b onerror=alert(1)>.csv"):
        with open(bytes(place / "inbox") + b"/" + evil, "wb") as file:
            file.write(b"\x00\x01 no table")
    done = tick(made(place), at(WINDOWS))
    assert [manifest.label for manifest in done.done] == [name(WINDOWS)]
    exit_code, text = status(place, "--at", f"{at(WINDOWS)}")
    assert exit_code == 0
    assert text.count("note: not read: ") == 3
    assert r"F\udce4lle.csv" in text
    assert r"x\x1b]0;title\x07\nFAULT  forged.csv" in text
    assert "\x1b" not in text
    page = (archive(place).root / PAGE).read_text()
    assert r"F\udce4lle.csv" in page
    assert "<b onerror" not in page


def test_a_failed_tick_is_told_with_its_time_until_one_succeeds(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = ("--at", "2020-01-03T06:30")

    def fail(*_: object) -> Ticked:
        raise Diverged("window X: the analysis is not finite", "raise `inflation`")

    ready = made(place)
    with monkeypatch.context() as patch:
        patch.setattr(ready.ticker, "run", fail)
        with pytest.raises(Diverged):
            tick(ready, at(WINDOWS))
    exit_code, text = status(place, *now)
    assert exit_code == 3
    ended = re.search(r"last tick: (\S+Z), failed", text)
    assert ended is not None
    told = f"the tick of {ended[1]} failed: window X: the analysis is not finite"
    assert told in text
    page = (ready.archive.root / PAGE).read_text()
    assert told in page
    assert '<span class="state warn">look</span>' in page
    tick(ready, at(WINDOWS))
    assert status(place, *now)[0] == 0
    page = (ready.archive.root / PAGE).read_text()
    assert "the tick of" not in page
    assert '<span class="state good">well</span>' in page


def test_an_expectation_that_does_not_hold_is_looked_at_until_windows_meet_it(place: Path) -> None:
    wrong = make(place / "twin.yaml", ["expect=[ob_rms(cycle) < 0.01]"], str(place / "store"))
    tick(wrong, at(WINDOWS))
    tick(wrong, at(WINDOWS))
    now = standing(archive(place), at(WINDOWS))
    assert now.state == "look"
    assert [concern.split(" (")[0] for concern in now.concerns] == ["ob_rms(cycle) < 0.01 does not hold"]
    tick(made(place), at(WINDOWS))
    assert standing(archive(place), at(WINDOWS)).state == "well"


def test_records_of_no_window_are_told(place: Path) -> None:
    lines = [
        "time,state,value",
        "1577856600,1,2",
        "05/01/2020,1,2",
        "1999-01-01,1,2",
        "2020-01-01,1",
        "2020-",
    ]
    (place / "inbox" / "odd.csv").write_text("\n".join(lines))
    found = {"no_time": 2, "no_window": 1, "malformed": 1, "torn": 1}
    options = ["--store", str(place / "store"), "--until", f"{at(WINDOWS):%Y-%m-%dT%H:%M}"]
    result = CliRunner().invoke(app, ["cycle", str(place / "twin.yaml"), *options, "--json"])
    assert json.loads(result.stdout)["of_no_window"] == found
    told = "records of no window: no time 2, no window 1, malformed 1, torn 1"
    assert told in CliRunner().invoke(app, ["cycle", str(place / "twin.yaml"), *options]).stdout
    assert f"note: {told}" in status(place)[1]
    assert told in (archive(place).root / PAGE).read_text()


def test_an_expectation_on_reports_is_not_judged_where_there_are_none(place: Path) -> None:
    options = ("--store", str(place / "store"), "--until", f"{at(WINDOWS + 4):%Y-%m-%dT%H:%M}", "--json")
    texts = "expect=[ob_rms(cycle) < 9, spread(cycle) < 0.001, 1 < oa_rms(cycle)]"
    tick(make(place / "twin.yaml", [texts], str(place / "store")), at(WINDOWS + 3))
    result = CliRunner().invoke(app, ["cycle", str(place / "twin.yaml"), *options, "--set", texts])
    assert result.exit_code == 3, result.output
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert [gate["text"] for gate in found["expect"]] == ["spread(cycle) < 0.001"]
    assert facts(place)["last_tick"]["done"] == [name(WINDOWS + 4)]


def test_an_expectation_without_a_value_fails_and_is_told(place: Path) -> None:
    wrong = make(place / "twin.yaml", ["expect=[ob_rms(cycle) / 0 < 2]"], str(place / "store"))
    tick(wrong, at(WINDOWS))
    now = standing(archive(place), at(WINDOWS))
    assert now.concerns == ["ob_rms(cycle) / 0 < 2 does not hold (left side: no value)"]


@pytest.mark.parametrize("content", [None, "", "[]", '{"name": "twin"'])
def test_an_archive_whose_last_tick_is_not_known_is_looked_at(place: Path, content: str | None) -> None:
    path = archive(place).root / TICK
    path.unlink()
    if content is not None:
        path.write_text(content)
    exit_code, text = status(place)
    assert exit_code == 3
    assert "no tick is known" in text
    lock = archive(place).lock()
    assert lock.try_acquire()
    assert facts(place, "--max-behind", "99999")["state"] == "well"
    lock.release()


def test_files_of_other_names_beside_the_windows_are_named(place: Path) -> None:
    windows = archive(place).root / "windows"
    (windows / "notes.json").write_text("{}")
    shutil.copy(windows / f"{name(0)}.json", windows / "20991231T000000Z.json")
    found = facts(place, "--quick", "--at", "2020-01-03T06:00")
    assert (found["state"], len(found["faults"]), found["missing"]) == ("damaged", 2, [])
    assert (found["behind"], found["last"]) == (0, name(WINDOWS - 1))


def test_a_tick_that_finds_a_window_missing_keeps_its_files(place: Path) -> None:
    ours = archive(place)
    path = ours.root / "windows" / f"{name(3)}.json"
    text = path.read_text()
    path.unlink()
    with pytest.raises(StoreDamaged, match="restore the missing window"):
        tick(made(place), at(WINDOWS))
    path.write_text(text)
    assert archive(place).faults() == []
    tick(made(place), at(WINDOWS))


def test_a_window_that_follows_from_one_that_changed_is_no_damage_and_the_next_tick_mends_it(
    place: Path,
) -> None:
    ours = archive(place)
    values = dict(ours.manifest(name(WINDOWS - 2)).values) | {"note": "as if another one had been published"}
    (ours.root / "windows" / f"{name(WINDOWS - 2)}.json").write_text(json.dumps(values))
    now = standing(ours, at(WINDOWS - 1))
    assert (now.state, now.stale, now.faults) == ("look", [name(WINDOWS - 1)], [])
    lock = ours.lock()
    assert lock.try_acquire()
    assert standing(ours, at(WINDOWS - 1)).state == "well"
    assert facts(place)["writer"] is not None
    lock.release()
    tick(made(place), at(WINDOWS - 1))
    assert standing(ours, at(WINDOWS - 1)).state == "well"


def test_a_tick_verifies_each_pair_of_windows_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = archive(place)
    before = read_table(ours.root / KEPT)
    # Two truths for each of two leads, three subjects: 7 pairs one window apart and 6 of two.
    assert len(before) == (7 + 6) * 2 * 3
    opened: list[str] = []

    window = Archive.window

    def watched(self: Archive, manifest: Manifest) -> xr.Dataset:
        opened.append(manifest.label)
        return window(self, manifest)

    monkeypatch.setattr(Archive, "window", watched)
    monkeypatch.setattr("tasks.status._last_window", lambda *_: Section("Last window", "now"))
    tick(made(place), at(WINDOWS))
    assert sorted(set(opened)) == [name(WINDOWS - 2), name(WINDOWS - 1), name(WINDOWS)]
    after = read_table(ours.root / KEPT)
    assert len(after) == len(before) + 2 * 2 * 3
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    opened.clear()
    tick(made(place), at(WINDOWS))
    assert opened == []
    (ours.root / KEPT).write_bytes(b"torn")
    tick(made(place), at(WINDOWS))
    pd.testing.assert_frame_equal(scores(ours), after.sort_values(list(after.columns), ignore_index=True))


def test_the_statistics_of_all_windows_are_those_of_all_reports_at_once(home: Path) -> None:
    ours = archive(home)
    manifests = list(ours.manifests())
    found = statistics(ours, manifests)
    whole = pd.concat([ours.feedback(manifest) for manifest in manifests])
    z = whole["ob"] / np.hypot(whole["background_spread"], whole["error"])
    own = found.stations.set_index("station")
    for station, rows in whole.groupby("station"):
        assert own.loc[station, "reports"] == len(rows) == WINDOWS
        assert own.loc[station, "ob_mean"] == pytest.approx(rows["ob"].mean())
        assert own.loc[station, "z_rms"] == pytest.approx(
            np.sqrt((z[rows.index][whole.loc[rows.index, "station"] == station] ** 2).mean())
        )
    assert found.departures["reports"].sum() == found.calibration["reports"].sum() == 12 * WINDOWS
    increments = ours.fields("analysis")["X"] - ours.fields("background")["X"]
    np.testing.assert_allclose(
        found.increments["X_mean"], increments.mean("time").squeeze(), rtol=1e-5, atol=1e-6
    )
    rms = np.sqrt((increments.astype("f8") ** 2).mean("time").squeeze())
    np.testing.assert_allclose(found.increments["X_rms"], rms, rtol=1e-5)


def test_the_report_puts_the_bad_instrument_first(place: Path) -> None:
    page = write_report(archive(place)).read_text()
    stations = page[page.index('id="stations"') :]
    rows = re.findall(r'<th scope="row">(S\d+)</th>', stations)
    assert rows[0] == "S7"
    assert len(rows) == 12
    for anchor in ("forecasts", "series", "calibration-figures", "increments"):
        assert f'<h2 id="{anchor}">' in page
    assert 'http-equiv="refresh"' not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    short = write_report(archive(place), last=5).read_text()
    assert "5 windows, " in short
