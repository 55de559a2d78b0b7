"""A twin on a ring: a small true model, and reports of its own run, window after window."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.inflation import MultiplicativeSpec
from koopcast.assimilation.initial import ClimatologySpec
from koopcast.cycles.archive import Archive, Mirror
from koopcast.cycles.chain import Chain
from koopcast.cycles.clock import Clock, negative
from koopcast.cycles.inbox import Inbox, TableInboxSpec
from koopcast.cycles.tick import Policy, Ticker
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics, evolve
from koopcast.integrators.rk4 import RK4Spec
from koopcast.stores.bucket import Bucket
from koopcast.systems.lorenz96 import Lorenz96Spec
from koopcast.times import parse_duration

POINTS = 6
START = pd.Timestamp("2020-01-30T06:00")
STEP = parse_duration("PT6H")


@dataclass(frozen=True)
class Twin:
    """What a cycle is made of, in a folder of its own."""

    setup: Run
    truth: FieldData
    folder: Path

    def chain(self) -> Chain:
        method = ETKFSpec(members=8, inflation=MultiplicativeSpec(factor=1.05), rotation=True)
        clock = Clock(START, STEP, negative(STEP), STEP, parse_duration("PT0S"))
        return Chain(
            SystemDynamics(self.setup), method, ClimatologySpec(), self.truth, clock, 1, 0, leads=(1,)
        )

    def label(self, number: int) -> str:
        return self.chain().clock.name(number)

    def at(self, number: int) -> pd.Timestamp:
        return self.chain().clock.label(number)

    def deliver(self, windows: range, name: str = "all.csv", minutes: int = 0) -> Path:
        """Write reports of some windows, so many minutes before their label, where every cycle looks."""
        values = self.truth.tensor().numpy()[0, :, :, 0]
        parts = []
        for window in windows:
            noisy = values[window + 1] + np.random.default_rng([5, window]).standard_normal(POINTS)
            time = self.at(window) - pd.Timedelta(minutes=minutes)
            parts.append(pd.DataFrame({"time": time, "state": range(POINTS), "value": noisy}))
        (self.folder / "inbox").mkdir(exist_ok=True)
        path = self.folder / "inbox" / name
        pd.concat(parts).to_csv(path, index=False)
        return path

    def local(self, name: str = "archive") -> Archive:
        return Archive(self.folder / name / "cycle")

    def mirrored(self, uri: str, machine: str) -> Archive:
        root = self.folder / machine / "cycle"
        return Archive(root, Mirror(Bucket(uri), "cycles/twin", root))

    def ticker(self, archive: Archive, **policy: object) -> Ticker:
        (self.folder / "inbox").mkdir(exist_ok=True)
        spec = TableInboxSpec.model_validate(
            {"kind": "table", "path": str(self.folder / "inbox/*.csv"), "settle": 0,
             "variables": {"X": {"bounds": [-30, 30]}}}
        )  # fmt: skip
        chain = self.chain()
        inbox = Inbox(spec, self.truth.info, chain.clock, archive.inbox)
        return Ticker(chain, inbox, archive, Policy(**{"max_catchup": 10**6, **policy}))

    def tick(self, archive: Archive, number: int, force: str | None = None, **policy: object) -> list[str]:
        """Tick as the only writer up to a window; return the labels of those that were analysed."""
        archive.root.mkdir(parents=True, exist_ok=True)
        lock = archive.lock()
        lock.acquire(timeout=0.0, on_wait=lambda holder, waited: None)
        try:
            archive.open({})
            done = self.ticker(archive, **policy).run(self.at(number), force).done
        finally:
            lock.release()
        return [manifest.label for manifest in done]


@pytest.fixture(scope="session")
def ring() -> tuple[Run, FieldData]:
    """A true model and its own run."""
    setup = Run(Lorenz96Spec(points=POINTS), RK4Spec(), samples=1, steps=600, burn_in=100)
    return setup, evolve(setup, seed=1, dtype="float64")


@pytest.fixture
def twin(ring: tuple[Run, FieldData], tmp_path: Path) -> Twin:
    """The twin in a new folder."""
    return Twin(*ring, tmp_path)


def content(archive: Archive) -> dict[str, str]:
    """Digest of every published file of an archive, without what is of this machine alone."""
    archive.pull()
    for manifest in archive.manifests():
        archive.folder(manifest)
    own = {"inbox", "locks", "status.html", "tags.json"}
    return {
        str(path.relative_to(archive.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(archive.root.rglob("*"))
        if path.is_file() and path.relative_to(archive.root).parts[0] not in own
    }


@pytest.fixture(name="content")
def content_fixture():
    """The function `content`."""
    return content
