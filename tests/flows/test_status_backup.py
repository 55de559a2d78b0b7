"""A copy of a store is whole at any moment, and a cycle goes on from it with the same bytes."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import tasks.backup as backup
from flows.cli import app
from flows.cycle import make
from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare as prepare_pipeline
from flows.request import Request
from flows.run import carry_out
from koopcast.cycles.archive import Archive
from koopcast.errors import InvalidInput, StoreError, StoreLocked
from koopcast.stores import Store, doctor
from tasks.backup import Copier, back_up
from tasks.cycle import Prepared, tick
from tasks.standing import standing

TRUTH = """
name: ring
seed: 1
steps:
  truth:
    task: generate
    system: {kind: lorenz96, points: 8}
    steps: 60
    burn_in: 40
    dtype: float64
    split: {time: {train: ..1.95, test: 2..}}
"""
CYCLE = """
name: twin
seed: 3
model: runs://ring/latest/truth.system
observations: {kind: table, path: inbox/*.csv, error: {std: 1.0}, settle: 0}
method: {kind: etkf, members: 6}
cycle: {start: 2020-01-01T06:00, step: PT6H, record: PT6H}
threads: 1
"""
WINDOWS = 5


def at(window: int) -> pd.Timestamp:
    return pd.Timestamp("2020-01-01T06:00") + pd.Timedelta(hours=6 * window)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a model, an inbox, and no window yet."""
    folder = tmp_path_factory.mktemp("backup")
    (folder / "ring.yaml").write_text(TRUTH)
    request = Request(pipeline=str(folder / "ring.yaml"), store=str(folder / "store"))
    assert carry_out(prepare_pipeline(request), InlineEngine(), Silent()).state == "done"
    (folder / "inbox").mkdir()
    deliver(folder, range(WINDOWS + 2), "a.csv")
    (folder / "twin.yaml").write_text(CYCLE)
    return folder


def deliver(place: Path, windows: range, name: str, minutes: int = 20) -> None:
    rows = [
        (at(window) - pd.Timedelta(minutes=minutes), cell, float(minutes % 7 + cell))
        for window in windows
        for cell in range(8)
    ]
    pd.DataFrame(rows, columns=["time", "state", "value"]).to_csv(place / "inbox" / name, index=False)


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home, tmp_path / "here")
    return tmp_path / "here"


def made(place: Path, store: str | Path = "store") -> Prepared:
    return make(place / "twin.yaml", (), str(place / store))


def archive(store: Path) -> Archive:
    return Archive(store / "cycles" / "twin")


def content(store: Path) -> dict[str, str]:
    """Digests of the published files of the windows."""
    ours = archive(store)
    paths = [*ours.root.glob("windows/*")]
    for manifest in ours.manifests():
        paths += [path for path in ours.folder(manifest).rglob("*") if path.is_file()]
    return {str(path.relative_to(ours.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_cycles_without_a_window_and_what_is_no_cycle_are_copied_too(place: Path, tmp_path: Path) -> None:
    options = ("--store", str(place / "store"), "--dry-run")
    assert CliRunner().invoke(app, ["cycle", str(place / "twin.yaml"), *options]).exit_code == 0
    (place / "store/cycles/notes.txt").write_text("of a person")
    copied = back_up(place / "store", tmp_path / "copy")
    assert (copied.cycles, copied.windows) == (1, 0)
    assert (tmp_path / "copy/cycles/notes.txt").read_text() == "of a person"


def test_a_copy_over_a_file_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(InvalidInput, match="is no folder"):
        back_up(place / "store", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


def test_a_copy_that_was_made_between_ticks_is_restored_elsewhere_and_goes_on(
    place: Path, tmp_path: Path
) -> None:
    tick(made(place), at(WINDOWS - 1))
    command = ["backup", str(tmp_path / "copy"), "--store", str(place / "store")]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0
    assert f"1 cycles with {WINDOWS} windows" in told.stdout
    assert content(tmp_path / "copy") == content(place / "store")
    assert back_up(place / "store", tmp_path / "copy").files == 0
    assert doctor(Store.open(tmp_path / "copy")).is_clean
    # Elsewhere: the store from the copy, and the files of the person.
    shutil.copytree(place, tmp_path / "there", ignore=shutil.ignore_patterns("store"))
    back_up(tmp_path / "copy", tmp_path / "there" / "store")
    shutil.rmtree(tmp_path / "copy")
    assert standing(archive(tmp_path / "there" / "store"), at(WINDOWS - 1)).state == "well"
    for where in (place, tmp_path / "there"):
        assert [window.label for window in tick(made(where), at(WINDOWS)).done] == [
            f"{at(WINDOWS):%Y%m%dT%H%M%SZ}"
        ]
    assert content(tmp_path / "there" / "store") == content(place / "store")


def test_copies_that_are_made_while_a_tick_runs_are_whole_and_go_on(place: Path, tmp_path: Path) -> None:
    ready = made(place)
    copies = [tmp_path / f"copy{number}" for number in range(WINDOWS)]
    free = iter(copies)
    tick(ready, at(WINDOWS - 1), then=lambda work, manifest: back_up(place / "store", next(free)) and None)
    for number, copy in enumerate(copies):
        assert len(archive(copy).labels()) == number + 1
        assert archive(copy).faults() == []
    for copy in copies[1::2]:
        tick(made(place, copy), at(WINDOWS - 1))
        assert content(copy) == content(place / "store")


def test_a_copy_that_is_killed_anywhere_is_whole(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    tick(made(place), at(1))
    back_up(place / "store", copy)
    tick(made(place), at(2))
    deliver(place, range(1, 2), "late.csv", 33)
    again = tick(made(place), at(WINDOWS - 1))
    assert len(again.done) > 3
    whole = content(place / "store")
    real = Copier.copy
    before, killed = content(copy), 0
    for limit in range(0, 400, 11):
        left = limit

        def until(self: Copier, source: Path, there: Path, **options: Path) -> None:
            nonlocal left
            real(self, source, there, **options)
            left -= 1
            if left < 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Copier, "copy", until)
            try:
                back_up(place / "store", copy)
            except KeyboardInterrupt:
                killed += 1
                assert content(copy) == before
                continue
        break
    assert killed > 5
    assert content(copy) == whole
    assert {path.name for path in (copy / "cycles/twin/data").iterdir()} == {
        str(manifest.values["data"]) for manifest in archive(copy).manifests()
    }


@pytest.mark.slow
def test_a_window_that_is_analysed_again_meanwhile_makes_another_round(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick(made(place), at(WINDOWS - 1))
    names, others, minutes = backup._names, backup._others, iter(range(21, 100))

    def disturb() -> None:
        """Two ticks: one replaces windows, the next sweeps their former files away."""
        deliver(place, range(WINDOWS - 2, WINDOWS), "late.csv", next(minutes))
        assert tick(made(place), at(WINDOWS - 1)).done
        tick(made(place), at(WINDOWS - 1))

    def once(root: Path) -> object:
        monkeypatch.setattr(backup, "_others", others)
        disturb()
        return others(root)

    monkeypatch.setattr(backup, "_others", once)
    back_up(place / "store", tmp_path / "copy")
    whole = content(place / "store")
    assert archive(tmp_path / "copy").faults() == []
    assert content(tmp_path / "copy") == whole
    monkeypatch.setattr(backup, "_names", lambda root: disturb() or names(root))
    monkeypatch.setattr(backup, "_others", lambda root: disturb() or others(root))
    with pytest.raises(StoreError, match="in each of 3 rounds"):
        back_up(place / "store", tmp_path / "copy")
    assert archive(tmp_path / "copy").faults() == []
    assert content(tmp_path / "copy") == whole


def test_a_copy_in_the_store_is_refused(place: Path) -> None:
    with pytest.raises(InvalidInput, match="lie in one another"):
        back_up(place / "store", place / "store" / "copy")
    with pytest.raises(InvalidInput, match="lie in one another"):
        back_up(place / "store", place)


@pytest.mark.parametrize("options", ["compact: month, restart: {every: 4, last: 5}", "store: icechunk"])
def test_months_thinned_states_and_repositories_are_copied_whole(
    place: Path, tmp_path: Path, options: str
) -> None:
    windows = range(WINDOWS + 2)
    text = CYCLE.replace("PT6H, record: PT6H", "P7D, record: P7D")
    text += f"archive: {{{options}}}\nmax_rerun_windows: 1\n"
    (place / "twin.yaml").write_text(text)
    rows = [
        (pd.Timestamp("2020-01-01T05:00") + pd.Timedelta(days=7 * window), cell, float(cell))
        for window in windows
        for cell in range(8)
    ]
    pd.DataFrame(rows, columns=["time", "state", "value"]).to_csv(place / "inbox" / "a.csv", index=False)

    def step(window: int) -> None:
        ready = made(place)
        tick(ready, pd.Timestamp("2020-01-01T06:00") + pd.Timedelta(days=7 * window))

    step(2)
    back_up(place / "store", tmp_path / "copy")
    step(windows[-1])
    back_up(place / "store", tmp_path / "copy")
    ours, copy = archive(place / "store"), archive(tmp_path / "copy")
    assert copy.labels() == ours.labels()
    assert len(copy.labels()) == len(windows)
    assert copy.faults() == []
    assert copy.fields("analysis").equals(ours.fields("analysis"))
    assert list((copy.root / "months").glob("*.json")) or "icechunk" in options


def test_a_folder_that_holds_other_things_is_left_as_it_is(place: Path) -> None:
    """What no manifest names is swept in a copy: that must not meet files of somebody else."""
    photo = place / "mine" / "cycles" / "alps" / "data" / "holiday" / "pass.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"a photo")
    with pytest.raises(InvalidInput, match="is not a store and holds other things"):
        back_up(place / "store", place / "mine")
    assert [path for path in (place / "mine").rglob("*") if path.is_file()] == [photo]


def test_a_store_that_a_tick_writes_to_gets_no_copy(place: Path) -> None:
    tick(made(place), at(1))
    back_up(place / "store", place / "copy")
    lock = archive(place / "copy").lock()
    lock.acquire()
    work = archive(place / "copy").scratch()
    (work / "fields").write_text("half")
    tick(made(place), at(2))
    with pytest.raises(StoreLocked):
        back_up(place / "store", place / "copy")
    assert (work / "fields").exists()
    assert len(archive(place / "copy").labels()) == 2
    lock.release()
    assert back_up(place / "store", place / "copy").windows == 3


def test_a_folder_that_may_not_be_read_is_no_silent_gap(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def guarded(path: str) -> object:
        if "artefacts/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", guarded)
    with pytest.raises(PermissionError):
        back_up(place / "store", place / "copy")
