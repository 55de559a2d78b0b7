"""A small twin experiment as a cycle: a store with its true model, and noisy reports of the truth."""

import hashlib
import shutil
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
from koopcast.cycles.archive import Archive
from koopcast.cycles.work import Ticked
from koopcast.stores.files import open_data
from tasks.cycle import Prepared

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


@pytest.fixture(scope="session")
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


def remove(archive: Archive) -> None:
    shutil.rmtree(archive.root)
